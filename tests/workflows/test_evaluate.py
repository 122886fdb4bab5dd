import numpy as np
import pytest

from semise_sdk.errors import DataError
from semise_sdk.results import Analysis
from semise_sdk.workflows.evaluate import LabeledImage, gather


def square(lesion):
    mask = np.zeros((4, 6), np.uint8)
    mask[:lesion, :] = 255
    return mask


def one_row(_path):
    return square(1) > 0


def images(tmp_path, levels, *, masked):
    return [
        LabeledImage(
            image=tmp_path / f"{i}.png", level=level, group=f"g{i // 2}", mask=tmp_path / f"{i}" if masked else None
        )
        for i, level in enumerate(levels)
    ]


def test_masks_are_counted_where_the_truth_has_one(tmp_path):
    answers = [
        Analysis(file=str(i), severity=0.1 * i, probabilities=(0.5, 0.5), mask=square(rows))
        for i, rows in enumerate((0, 2))
    ]
    observed = gather(images(tmp_path, (0, 1), masked=True), answers, num_classes=2, read_mask=one_row)
    assert observed.mask_counts.tolist() == [[0, 0, 6], [6, 12, 6]]
    assert observed.severity.tolist() == [0.0, 0.1]
    assert list(observed.mask_groups) == ["g0", "g0"]
    without = gather(images(tmp_path, (0, 1), masked=False), answers, num_classes=2, read_mask=one_row)
    assert without.mask_counts is None


def test_a_model_without_a_classifier_has_no_probabilities(tmp_path):
    answers = [Analysis(file="a", severity=0.2), Analysis(file="b", severity=0.4)]
    observed = gather(images(tmp_path, (0, 1), masked=False), answers, num_classes=2, read_mask=one_row)
    assert observed.probabilities is None


def test_a_failed_image_stops_the_evaluation_by_name(tmp_path):
    answers = [Analysis(file="a", status="error", reason="truncated: the file ends early")]
    with pytest.raises(DataError, match=r"0\.png: truncated"):
        gather(images(tmp_path, (0,), masked=False), answers, num_classes=2, read_mask=one_row)


def test_a_mask_of_another_size_is_the_users_error(tmp_path):
    answers = [Analysis(file="a", severity=0.1, mask=square(1))]
    with pytest.raises(DataError, match="6x4 pixels, found 3x3"):
        gather(images(tmp_path, (0,), masked=True), answers, num_classes=2, read_mask=lambda _: np.ones((3, 3), bool))
