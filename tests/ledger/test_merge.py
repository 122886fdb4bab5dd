"""Parts join to the ranking of one run, and only when they are all there, finished and of one run."""

import pytest

from semise_sdk.errors import ConfigError, LedgerError
from semise_sdk.images.readers import find_images, scan_images
from semise_sdk.ledger import Part, merge_runs
from semise_sdk.severity.ranks import numbered, ranked


@pytest.fixture
def parts(tmp_path, model, open_ledger):
    def build(count, **changes):
        folders = []
        for index in range(1, count + 1):
            folders.append(tmp_path / f"part{index}")
            with open_ledger(folders[-1], part=f"{index}/{count}", **changes) as ledger:
                list(ledger.answers(model))
        return folders

    return build


def named(images):
    return lambda: ((0, found) for found in scan_images(images))


@pytest.mark.parametrize("phi", ["keep", "hash", "drop"])
def test_parts_join_to_the_ranking_of_one_run(phi, images, model, parts):
    folders = parts(4, phi=phi)
    assert sorted(model.answered) == sorted(image.file for image in find_images(images))
    with merge_runs(folders[::-1], images=named(images)) as merged:
        assert merged.nameless == 0
        assert merged.provider == "toy:cpu"
        rows = [(row.rank, row.file, row.severity, row.grade) for row in numbered(merged.ranked())]
    whole = ranked(map(model.answer, find_images(images)))
    assert rows == [(row.rank, row.file, row.severity, row.grade) for row in whole]


def test_without_the_images_rows_bear_the_names_of_the_journals(images, parts):
    folders = parts(2)
    with merge_runs(folders) as merged:
        rows = list(merged.ranked())
        assert merged.nameless == len(rows) == 51
    assert all(row.file.startswith("p-") for row in rows)
    assert [row.severity for row in rows[:-1]] == sorted((row.severity for row in rows[:-1]), reverse=True)


def test_a_row_whose_image_is_gone_stays(images, parts):
    folders = parts(2)
    (images / "DOE_EMPTY.png").unlink()
    with merge_runs(folders, images=named(images)) as merged:
        assert merged.nameless == 1
        assert len(list(merged.ranked())) == 51


def test_a_run_without_parts_is_a_ranking_too(images, model, parts):
    with merge_runs(parts(1), images=named(images)) as merged:
        assert tuple(numbered(merged.ranked())) == ranked(map(model.answer, find_images(images)))


@pytest.mark.parametrize(("chosen", "found"), [([0, 1], "1/3, 2/3"), ([0, 1, 1, 2], "1/3, 2/3, 2/3, 3/3")])
def test_parts_that_are_not_each_there_once_are_refused(chosen, found, parts):
    folders = parts(3)
    with pytest.raises(LedgerError, match=f"expected the parts 1/3, 2/3, 3/3, each once, found {found}"):
        merge_runs([folders[index] for index in chosen])


def test_an_unfinished_part_is_refused(tmp_path, model, parts, open_ledger):
    folders = parts(2)
    with open_ledger(folders[1], part="2/2"):
        pass
    with pytest.raises(LedgerError, match="expected finished parts, found 2/2 unfinished: give its command again"):
        merge_runs(folders)


def test_parts_of_different_runs_are_refused(tmp_path, model, open_ledger):
    for index, precision in ((1, "fp32"), (2, "int8")):
        with open_ledger(tmp_path / str(index), part=f"{index}/2", precision=precision) as ledger:
            list(ledger.answers(model))
    with pytest.raises(LedgerError, match="precision"):
        merge_runs([tmp_path / "1", tmp_path / "2"])


def test_a_file_belongs_to_one_part_whatever_other_files_there_are():
    names = [f"ward/{number}.png" for number in range(2000)]
    held = [[name for name in names if Part(index, 7).holds(name)] for index in range(1, 8)]
    assert sorted(name for part in held for name in part) == sorted(names)
    assert all(200 < len(part) < 370 for part in held)
    assert Part(3, 7).holds(held[2][0])


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1 / 2", "1/2000000"])
def test_a_part_is_i_of_n(text):
    with pytest.raises(ConfigError, match="expected --part i/n"):
        Part.parse(text)
