"""Splits: balance against hand counts, no group cut, the same for the same seed, and clear refusals."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semise_sdk.errors import ConfigError, DataError
from semise_sdk.spec import SplitName
from semise_training.data.manifest import Manifest, Sample, load_manifest
from semise_training.data.splits.allotment import allot
from semise_training.data.splits.blocks import Block, blocks_of
from semise_training.data.splits.split import Assignment, folds, split
from semise_training.data.splits.split_file import read_split, write_split

ROOT = Path("data")
PACKS = Path(__file__).resolve().parents[4] / ".." / "shared" / "data"


def sample(index: int, level: int | None, group: str | None = None, part: SplitName | None = None) -> Sample:
    name = f"i{index}.png"
    return Sample(index + 2, ROOT / name, level, None, None, group or name, part)


def manifest(samples: Sequence[Sample]) -> Manifest:
    levels = max((one.severity for one in samples if one.severity is not None), default=-1) + 1
    return Manifest(ROOT / "data.csv", ROOT, tuple(samples), tuple(f"grade {level}" for level in range(levels)))


def singles(counts: Sequence[int]) -> Manifest:
    levels = [level for level, count in enumerate(counts) for _ in range(count)]
    return manifest([sample(index, level) for index, level in enumerate(levels)])


def counted(data: Manifest, assignment: Assignment) -> dict[str, list[int]]:
    """Returns the images of each level, for each part."""
    pairs = Counter((part, one.severity) for one, part in zip(data.samples, assignment, strict=True))
    return {part: [pairs[part, level] for level in data.levels] for part in sorted(set(assignment))}


def test_single_images_are_split_to_the_letter() -> None:
    data = singles([100, 40, 20])
    assert counted(data, split(data, seed=0)) == {"test": [15, 6, 3], "train": [70, 28, 14], "val": [15, 6, 3]}


def test_a_fourth_part_is_filled() -> None:
    data = singles([100, 40])
    shares: dict[SplitName, float] = {"train": 0.6, "val": 0.15, "calibration": 0.1, "test": 0.15}
    expected = {"calibration": [10, 4], "test": [15, 6], "train": [60, 24], "val": [15, 6]}
    assert counted(data, split(data, seed=0, fractions=shares)) == expected


def test_a_part_of_no_share_is_no_part() -> None:
    data = singles([4, 2])
    shares: dict[SplitName, float] = {"train": 0.5, "val": 0.5, "test": 0.0}
    assert set(split(data, seed=0, fractions=shares)) == {"train", "val"}


def test_the_seed_is_the_draw() -> None:
    data = singles([60, 30])
    assert split(data, seed=1) == split(data, seed=1)
    assert split(data, seed=1) != split(data, seed=2)


def test_a_known_split_stays_what_it_is() -> None:
    # Runs that were published name their seed: another order of the draw would silently give them other parts.
    assert "".join(part[1] for part in split(singles([9, 6]), seed=7)) == "errrrrrrarerrra"


def test_row_order_does_not_change_the_split() -> None:
    data = singles([30, 12])
    backwards = manifest(data.samples[::-1])
    assert split(data, seed=3) == split(backwards, seed=3)[::-1]


GROUPED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.booleans()), min_size=40, max_size=120)


@settings(max_examples=40, deadline=None)
@given(GROUPED, st.integers(0, 5))
def test_no_group_is_ever_cut_and_no_grade_is_ever_missing(rows: list[tuple[int, int, bool]], seed: int) -> None:
    samples = [sample(i, level if labeled else None, f"g{group}") for i, (level, group, labeled) in enumerate(rows)]
    data = manifest(samples)
    try:
        assignment = split(data, seed=seed)
    except DataError:
        return
    parts_of = {one.group: set[str]() for one in samples}
    for one, part in zip(samples, assignment, strict=True):
        parts_of[one.group].add(part)
    assert max(map(len, parts_of.values())) == 1
    assert all(min(counts) > 0 for counts in counted(data, assignment).values() if len(counts) == len(data.levels))
    labeled_parts = {(part, one.severity) for one, part in zip(samples, assignment, strict=True)}
    assert {(part, level) for part in ("train", "val", "test") for level in data.levels} <= labeled_parts


def test_large_groups_are_balanced() -> None:
    sizes = [(level, group, images) for level in (0, 1) for group, images in enumerate((9, 7, 5, 5, 4, 3, 3, 2, 1, 1))]
    rows = [(level, f"{level}/{group}") for level, group, images in sizes for _ in range(images)]
    data = manifest([sample(index, level, group) for index, (level, group) in enumerate(rows)])
    for counts in zip(*(counted(data, split(data, seed=0))[part] for part in ("train", "val", "test")), strict=True):
        assert abs(counts[0] - 28) <= 2
        assert abs(counts[1] - 6) <= 2
        assert abs(counts[2] - 6) <= 2


def test_a_grade_in_too_few_groups_is_named_with_its_count() -> None:
    data = manifest([*singles([9]).samples, *(sample(20 + i, 1, "ab"[i % 2]) for i in range(8)), sample(40, 2)])
    with pytest.raises(
        DataError, match=r"severity 1 \(grade 1\) is in 2 groups, a split into train, val, test needs 3"
    ):
        split(data, seed=0)
    with pytest.raises(DataError) as caught:
        split(data, seed=0)
    assert len(caught.value.problems) == 2


def mixed(groups: Sequence[Sequence[int]]) -> Manifest:
    """Returns a manifest with a group for each list of the levels that the group holds."""
    rows = [(level, f"g{number}") for number, levels in enumerate(groups) for level in levels]
    return manifest([sample(index, level, group) for index, (level, group) in enumerate(rows)])


def test_mixed_groups_that_no_split_can_spread_are_refused() -> None:
    with pytest.raises(DataError, match=r"no group was left to give severity \d \(grade \d\) to (train|val|test)"):
        split(mixed([[0, 1, 2], [0, 1], [0, 2], [1, 2]]), seed=0)


def test_mixed_groups_are_spread_when_a_further_draw_can() -> None:
    groups = [[0], [1, 1, 1], [1, 1, 2, 2, 2], [0, 1, 1], [2, 2], [0, 0, 0, 2, 2, 2]]
    data = mixed(groups)
    for seed in range(20):
        assert all(min(counts) > 0 for counts in counted(data, split(data, seed=seed)).values())


def test_only_unlabeled_images_cannot_be_split() -> None:
    with pytest.raises(DataError, match="only unlabeled"):
        split(manifest([sample(0, None)]), seed=0)


def test_unlabeled_images_train_unless_their_group_is_elsewhere() -> None:
    base = singles([20, 20]).samples
    mixed = [sample(100 + i, None, base[i].group) for i in range(40)]
    alone = [sample(200 + i, None) for i in range(10)]
    assignment = split(manifest([*base, *mixed, *alone]), seed=0)
    assert assignment[40:80] == assignment[:40]
    assert set(assignment[80:]) == {"train"}


def test_the_same_picture_never_leaks_through_two_groups() -> None:
    data = singles([60, 60])
    keys: list[str | None] = [None] * 120
    for twin in range(0, 60, 2):
        keys[twin] = keys[119 - twin] = f"picture {twin}"
    torn = split(data, seed=0)
    assert any(torn[twin] != torn[119 - twin] for twin in range(0, 60, 2))
    kept = split(data, seed=0, blocks=blocks_of(data, keys))
    assert all(kept[twin] == kept[119 - twin] for twin in range(0, 60, 2))


def test_shared_pictures_chain_groups_together() -> None:
    base = singles([12, 12]).samples
    chain = [sample(50, 0, "x"), sample(51, 0, "y"), sample(52, 0, "y"), sample(53, 0, "z")]
    keys = [None] * 24 + ["k", "k", "l", "l"]
    data = manifest([*base, *chain])
    for seed in range(5):
        assert len(set(split(data, seed=seed, blocks=blocks_of(data, keys))[24:])) == 1


def named(parts: Mapping[int, SplitName | None], levels: Sequence[int | None]) -> Manifest:
    return manifest([sample(i, level, f"g{i}", parts.get(i)) for i, level in enumerate(levels)])


def test_named_splits_are_used_as_they_are() -> None:
    parts: dict[int, SplitName | None] = {0: "test", 1: "val", 2: "train", 3: "calibration"}
    assert split(named(parts, [0, 1, 0, 1]), seed=0) == ("test", "val", "train", "calibration")


def test_named_splits_take_unlabeled_rows_along() -> None:
    rows = [sample(0, 0, "a", "test"), sample(1, None, "a"), sample(2, 0, "b", "val"), sample(3, None, "c"),
            sample(4, 0, "d", "train")]  # fmt: skip
    assert split(manifest(rows), seed=0) == ("test", "test", "val", "train", "train")


def test_an_incomplete_named_split_says_what_is_missing() -> None:
    with pytest.raises(DataError) as caught:
        split(named({0: "train", 1: "test"}, [0, 1, 0, None]), seed=0)
    assert caught.value.problems == ("row 4: i2.png names no split", "no labeled row names val")


@pytest.mark.parametrize(
    "fractions",
    [
        {"train": 0.5, "val": 0.2},
        {"train": 1.2, "val": -0.2},
        {"val": 0.5, "test": 0.5},
        {"train": 0.5, "holdout": 0.5},
    ],
)
def test_wrong_fractions_are_refused(fractions: dict[SplitName, float]) -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        split(singles([9, 9]), seed=0, fractions=fractions)


def test_folds_cover_every_image_once() -> None:
    data = singles([100, 40])
    parts = [folds(data, fold=fold, seed=0) for fold in range(5)]
    tested = Counter(index for one in parts for index, part in enumerate(one) if part == "test")
    assert tested == Counter(range(140))
    for one in parts:
        assert counted(data, one) == {"test": [20, 8], "train": [65, 26], "val": [15, 6]}


def test_folds_leave_room_for_calibration() -> None:
    data = singles([100, 40])
    parts = folds(data, fold=1, n=4, seed=0, fractions={"val": 0.1, "calibration": 0.05})
    assert counted(data, parts) == {"calibration": [5, 2], "test": [25, 10], "train": [60, 24], "val": [10, 4]}


def test_folds_keep_groups_pictures_and_unlabeled_images_in_place() -> None:
    base = [sample(i, i % 2, f"g{i // 4}") for i in range(160)]
    data = manifest([*base, sample(200, None, "g0"), sample(201, None)])
    keys = ["same" if one.group in ("g3", "g9") else None for one in data.samples]
    for fold in range(5):
        parts = folds(data, fold=fold, seed=1, blocks=blocks_of(data, keys))
        assert all(len({parts[i] for i in range(start, start + 4)}) == 1 for start in range(0, 160, 4))
        assert parts[12] == parts[36]
        assert parts[160] == parts[0]
        assert parts[161] == "train"


def test_folds_ignore_named_splits() -> None:
    data = manifest([sample(i, i % 2, None, "train") for i in range(40)])
    assert set(folds(data, fold=0, seed=0)) == {"train", "val", "test"}


@pytest.mark.parametrize(
    ("n", "fold", "fractions"),
    [(1, 0, {"val": 0.1}), (5, 5, {"val": 0.1}), (5, -1, {"val": 0.1}), (5, 0, {"val": 0.8}), (5, 0, {"test": 0.1}),
     (5, 0, {"val": -0.1})],
)  # fmt: skip
def test_wrong_folds_are_refused(n: int, fold: int, fractions: dict[SplitName, float]) -> None:
    with pytest.raises(ConfigError):
        folds(singles([20, 20]), n=n, fold=fold, seed=0, fractions=fractions)


def test_too_few_groups_for_the_folds_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"severity 1 \(grade 1\) is in 4 groups, cross-validation with 5 folds needs 5"
    ):
        folds(singles([20, 4]), fold=0, seed=0)


def test_levels_are_covered_before_shares_are_met() -> None:
    blocks = [Block("big", (0,), {0: 50, 1: 50}), Block("b", (1,), {0: 1, 1: 1}), Block("c", (2,), {0: 1, 1: 1})]
    parts = allot(blocks, {"train": 0.7, "val": 0.15, "test": 0.15}, draw="0")
    assert sorted(parts.values()) == ["test", "train", "val"]
    assert parts["big"] == "train"


def test_a_written_split_reads_back(tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    rows = [f"sub/é {index},x.png;{index % 2};pat,{index}" for index in range(12)] + ["/far/away.png;;lone"]
    source.write_text("image;severity;group\n" + "\n".join(rows), encoding="utf-8")
    data = load_manifest(source)
    assignment = split(data, seed=0)
    path = tmp_path / "run" / "split.csv"
    write_split(path, data, assignment)
    with path.open(encoding="utf-8", newline="") as stream:
        written = list(csv.DictReader(stream))
    assert list(written[0]) == ["image", "severity", "label", "group", "split"]
    assert written[0] == {
        "image": "sub/é 0,x.png", "severity": "0", "label": "severity 0", "group": "pat,0", "split": assignment[0],
    }  # fmt: skip
    assert written[12]["image"] == "/far/away.png"
    assert read_split(path, data) == assignment


def test_a_split_of_other_data_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("image,severity\na.png,0\nb.png,0\nc.png,0\n")
    path = tmp_path / "split.csv"
    write_split(path, load_manifest(source), ("train", "val", "test"))
    source.write_text("image,severity\na.png,0\nb.png,0\nd.png,0\n")
    with pytest.raises(DataError, match="the data changed") as caught:
        read_split(path, load_manifest(source))
    assert caught.value.problems == ("row 4: d.png has no split in split.csv", "c.png is no longer in data.csv")


def test_a_damaged_split_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("image,severity,label,group,split\ni0.png,0,,,somewhere\n")
    with pytest.raises(DataError, match="found 'somewhere'"):
        read_split(path, singles([1]))


@pytest.mark.real_images
def test_busi_is_split_by_group_and_within_a_hundredth_of_its_shares() -> None:
    if not (PACKS / "busi").exists():
        pytest.skip("needs the image packs at ../shared")
    data = load_manifest(PACKS / "busi", columns={"image": "file", "group": "split_group"})
    counts = counted(data, split(data, seed=0))
    for part, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        for images, total in zip(counts[part], (133, 437, 210), strict=True):
            assert images / total == pytest.approx(share, abs=0.01)
