"""The gate's thresholds as YAML."""

from pathlib import Path

import pytest

from semise_export.config import ParityThresholds, parse_thresholds, read_thresholds
from semise_sdk.errors import ConfigError


def test_a_file_overrides_the_defaults_it_names(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text("class_flips: 0.02\ndice: 0.9\n")
    thresholds = read_thresholds(path)
    assert (thresholds.class_flips, thresholds.dice) == (0.02, 0.9)
    assert thresholds.kendall_tau == ParityThresholds().kendall_tau


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text("")
    assert read_thresholds(path) == ParityThresholds()


def test_what_is_recorded_reads_back() -> None:
    thresholds = ParityThresholds(severity_error=0.01)
    assert parse_thresholds(thresholds.to_json()) == thresholds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flips: 0.1", "named kendall_tau"),
        ("- 1", "named kendall_tau"),
        ("dice: high", "expected a number"),
        ("dice: true", "expected a number"),
        ("dice: 3", "of 0 to 2"),
        ("dice: .nan", "of 0 to 2"),
        ("dice: [", "could not read"),
    ],
)
def test_wrong_thresholds_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "thresholds.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_thresholds(path)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="could not read thresholds"):
        read_thresholds(tmp_path / "none.yaml")
