"""The gate's limits as YAML."""

import dataclasses
from pathlib import Path

import pytest

from semise_export.limits import LIMITS, ParityThresholds, parse_thresholds, read_limits
from semise_sdk.errors import ConfigError
from semise_sdk.spec import PRECISIONS


def written(folder: Path, text: str) -> Path:
    path = folder / "thresholds.yaml"
    path.write_text(text)
    return path


def test_every_precision_has_limits_and_fp32_the_defaults() -> None:
    assert tuple(LIMITS) == PRECISIONS
    assert LIMITS["fp32"] == ParityThresholds()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_precision_may_cost_what_the_issue_calls_too_much(precision: str) -> None:
    limits = LIMITS[precision]
    assert limits.class_flips <= 0.02
    assert limits.task_c_index <= 0.005


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999), ("fp16", 0.99), ("bf16", 0.98), ("int8", 0.995)])
def test_masks_of_int8_are_held_to_the_issues_dice(precision: str, least: float) -> None:
    assert LIMITS[precision].pooled_dice >= least


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_no_reduced_precision_is_held_narrower_than_fp32(precision: str) -> None:
    least = {"kendall_tau", "c_index", "dice", "pooled_dice"}
    for name, value in LIMITS[precision].to_json().items():
        of_fp32 = LIMITS["fp32"].to_json()[name]
        assert value <= of_fp32 if name in least else value >= of_fp32, name


def test_a_flat_key_counts_for_every_precision_and_the_others_keep_their_defaults(tmp_path: Path) -> None:
    limits = read_limits(written(tmp_path, "class_flips: 0.02\ndice: 0.9\n"))
    assert limits == {
        precision: dataclasses.replace(defaults, class_flips=0.02, dice=0.9) for precision, defaults in LIMITS.items()
    }


def test_a_nested_key_counts_for_its_precision_and_goes_before_a_flat_one(tmp_path: Path) -> None:
    limits = read_limits(written(tmp_path, "int8:\n  class_flips: 0.01\n  kendall_tau: 0.95\nclass_flips: 0.002\n"))
    assert limits["int8"] == dataclasses.replace(LIMITS["int8"], class_flips=0.01, kendall_tau=0.95)
    for precision in ("fp32", "fp16", "bf16"):
        assert limits[precision] == dataclasses.replace(LIMITS[precision], class_flips=0.002)


@pytest.mark.parametrize("text", ["", "int8:\n", "{}"])
def test_an_empty_file_or_precision_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert read_limits(written(tmp_path, text)) == LIMITS


def test_what_is_recorded_reads_back() -> None:
    thresholds = ParityThresholds(severity_error=0.01)
    assert parse_thresholds(thresholds.to_json()) == thresholds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flips: 0.1", "named kendall_tau"),
        ("int4: {class_flips: 0.1}", "named kendall_tau"),
        ("int8: {flips: 0.1}", "named kendall_tau"),
        ("int8: 0.1", "named kendall_tau"),
        ("int8: [1]", "named kendall_tau"),
        ("int8: {dice: high}", "expected a number"),
        ("int8: {dice: 3}", "of 0 to 2"),
        ("- 1", "expected parity thresholds by name"),
        ("dice: high", "expected a number"),
        ("dice: true", "expected a number"),
        ("dice: 3", "of 0 to 2"),
        ("dice: .nan", "of 0 to 2"),
        ("dice: [", "could not read"),
    ],
)
def test_wrong_thresholds_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        read_limits(written(tmp_path, text))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="could not read thresholds"):
        read_limits(tmp_path / "none.yaml")
