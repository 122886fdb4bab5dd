"""The model card's facts."""

from pathlib import Path

import numpy as np
import pytest

from semise_export.gate.agreement import Agreement
from semise_export.gate.parity import ParityRow
from semise_export.gate.stability import Stability
from semise_export.model_card import model_card
from semise_export.run import SplitRow, TrainedRun
from semise_sdk.calibration import Calibration, GradeSets, Healthy
from semise_sdk.metrics import Estimate
from semise_sdk.spec import InputSpec, ModelInfo, NetworkConfig


@pytest.fixture
def run(tmp_path: Path) -> TrainedRun:
    network = NetworkConfig(
        encoder="resnet50.tv_in1k", feature_dim=2048, mean=(0.0,) * 3, std=(1.0,) * 3, classes=2, decoder_channels=()
    )
    rows = [("healthy", "train"), ("healthy", "train"), ("il|l", "train"), ("", "train"), ("il|l", "test")]
    return TrainedRun(
        root=tmp_path,
        model=ModelInfo(
            name="lung", spec=InputSpec(height=224, width=160), labels=("healthy", "il|l"), network=network
        ),
        config={"seed": 3, "phase2": {"alpha": 0.1, "ntxent": {"scope": "all"}}, "data": {"manifest": "/secret/x.csv"}},
        manifest=tmp_path / "labels.csv",
        rows=tuple(SplitRow(image=Path("x"), label=label, part=part) for label, part in rows),
    )


ROW = ParityRow(
    backend="onnxruntime:CPUExecutionProvider",
    precision="fp32",
    agreement=Agreement(
        images=90,
        kendall_tau=0.99987654,
        c_index=1.0,
        rank_displacement=1,
        class_flips=0,
        probability_error=1e-6,
        dice=None,
        pooled_dice=None,
        task_c_index=0.912,
        task_c_index_torch=0.912,
        severity_error=2.5e-6,
        severity_error_mean=1e-7,
        map_error=1e-7,
        embedding_error=1e-9,
        reference_error=1e-9,
    ),
    stability=Stability(
        images=48, batches=(1, 2, 3, 16), severity_error=1e-6, class_flips=0, equal_rows_error=0.0, graph_error=None
    ),
    reasons=(),
)


def test_it_opens_with_name_and_intended_use(run: TrainedRun) -> None:
    assert model_card(run, [ROW]).startswith("# lung\n\nResearch use only. Not for diagnostic use.\n")


def test_it_says_what_the_model_answers_and_no_more(run: TrainedRun) -> None:
    card = model_card(run, [ROW])
    assert "Input: 224 x 160 pixels" in card
    assert "Answers: severity (cosine distance to the reference, 0 to 2), grade\n" in card


def test_it_counts_images_by_grade_and_part(run: TrainedRun) -> None:
    card = model_card(run, [ROW])
    for line in ("| grade | train | test |", "| healthy | 2 | 0 |", "| il\\|l | 1 | 1 |", "| unlabeled | 1 | 0 |"):
        assert f"{line}\n" in card
    assert "| all | 4 | 1 |" in card


def test_it_lists_settings_but_no_path(run: TrainedRun) -> None:
    card = model_card(run, [ROW])
    assert "| phase2.ntxent.scope | all |" in card
    assert "phase1" not in card
    assert "/secret" not in card


def test_parity_is_a_row_per_backend_and_a_dash_for_what_is_not_there(run: TrainedRun) -> None:
    line = "| onnxruntime:CPUExecutionProvider | fp32 | 0.999877 | 1 | 0 | - | 2.5e-06 | 1.0e-06 |"
    assert "On 90 validation and test images, file to score.\n\n| backend |" in model_card(run, [ROW])
    assert line in model_card(run, [ROW])


def test_a_card_says_what_the_answers_were_held_against(run: TrainedRun) -> None:
    assert "## Calibration\n\nNone: no grade sets, percentiles or gates.\n" in model_card(run, [ROW])
    sets = GradeSets(
        temperature=1.5,
        alpha=0.1,
        threshold=0.3,
        coverage=Estimate(0.91, 0.86, 0.95, 120),
        of_grade={"healthy": Estimate(0.95, 0.9, 1.0, 80), "il|l": Estimate(0.83, None, None, 40)},
        mean_size=1.25,
        groups=60,
    )
    healthy = Healthy(vectors=None, severities=np.linspace(0, 1, 80))
    card = model_card(run, [ROW], Calibration(source="val", images=120, groups=60, sets=sets, healthy=healthy))
    assert "- calibrated on: 120 images of 60 groups: val\n" in card
    assert "- grade sets: aim 90 %, hold 91.0 % [86.0, 95.0] of 120 images, 1.25 grades each; temperature 1.5\n" in card
    assert "| healthy | 0.950 | 0.900 to 1.000 | 80 |\n| il\\|l | 0.830 | - | 40 |" in card


def test_held_out_metrics_come_with_their_intervals(run: TrainedRun) -> None:
    assert "Not measured" in model_card(run, [ROW])
    (run.root / "evaluation.json").write_text(
        '{"macro_f1": {"value": 0.8125, "low": 0.75, "high": 0.875, "n": 120},'
        ' "ece": {"value": 0.1, "low": null, "high": null, "n": 120},'
        ' "dice": {"value": null, "low": null, "high": null, "n": 0}}'
    )
    card = model_card(run, [ROW])
    assert "| macro_f1 | 0.812 | 0.750 to 0.875 | 120 |" in card
    assert "| ece | 0.100 | - | 120 |" in card
    assert "| dice |" not in card
