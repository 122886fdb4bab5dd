"""A run goes on where it stood: no row is lost, repeated or of another file, and its folder holds no name."""

import json
import os
import sqlite3
import stat

import pytest

from semise_sdk.errors import ConfigError, LedgerError, OutputError
from semise_sdk.images.readers import find_images, scan_images
from semise_sdk.ledger import verify_run
from semise_sdk.ledger.run import RESCORES
from semise_sdk.privacy import make_key
from semise_sdk.severity.ranks import numbered, ranked

posix = pytest.mark.skipif(os.name != "posix", reason="needs the modes of POSIX files")


def finish(ledger, model):
    with ledger:
        list(ledger.answers(model))
        return tuple(numbered(ledger.ranked()))


def rows(run, query="SELECT * FROM journal"):
    connection = sqlite3.connect(run / "journal.sqlite")
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(query)]
    finally:
        connection.close()


def test_the_ranking_is_that_of_the_same_images_without_a_run(tmp_path, images, model, open_ledger):
    ranking = finish(open_ledger(tmp_path / "run"), model)
    assert ranking == ranked(map(model.answer, find_images(images)))
    assert len(ranking) == 51


@pytest.mark.parametrize("phi", ["keep", "hash", "drop"])
def test_every_policy_gives_the_same_ranking_of_named_files(phi, tmp_path, images, model, open_ledger):
    ranking = finish(open_ledger(tmp_path / "run", phi=phi), model)
    severities = [(row.rank, row.file, row.severity) for row in ranking]
    assert severities == [(row.rank, row.file, row.severity) for row in ranked(map(model.answer, find_images(images)))]
    if phi != "drop":
        assert ranking[-1].reason == "empty_file: 'DOE_EMPTY.png': expected an image, found none"


@pytest.mark.parametrize("order", ["ranked", "by_name"])
def test_a_reader_that_leaves_half_way_lets_the_run_be_closed(order, tmp_path, images, model, open_ledger):
    whole = finish(open_ledger(tmp_path / "run"), model)
    with open_ledger(tmp_path / "run") as ledger:
        list(ledger.answers(model))
        half_read = getattr(ledger, order)()
        next(half_read)
    assert list(half_read) == []
    assert verify_run(tmp_path / "run").is_intact
    assert finish(open_ledger(tmp_path / "run"), model) == whole


def test_every_row_says_what_it_is_of(tmp_path, images, model, open_ledger):
    import hashlib

    finish(open_ledger(tmp_path / "run", phi="keep"), model)
    found = {row["file"]: row for row in rows(tmp_path / "run")}
    assert set(found) == {image.file for image in find_images(images)}
    row = found["ward_0/DOE_JANE_0.png"]
    assert row["input_sha256"] == hashlib.sha256(b"image 0").hexdigest()
    assert (row["bundle_sha256"], row["provider"], row["precision"]) == ("b" * 64, "toy:cpu", "fp32")
    assert row["severity"] == json.loads(row["fields"])["severity"]
    assert row["status"] == "ok"
    assert row["time"].endswith("+00:00")


def test_a_run_that_was_stopped_goes_on_without_repeating_or_losing_a_row(tmp_path, images, model, open_ledger):
    whole = finish(open_ledger(tmp_path / "whole"), model)
    model.answered.clear()
    with open_ledger(tmp_path / "run") as ledger:
        ledger._journal.write = committed(ledger._journal.write)
        answers = ledger.answers(model)
        for _ in range(21):
            next(answers)
        answers.close()
        (kept,) = committed.counts
    assert kept == 20  # whole batches of 4
    repeated = model.answered[kept:]
    model.answered.clear()
    assert finish(open_ledger(tmp_path / "run"), model) == whole
    assert len(model.answered) == 51 - kept
    assert model.answered[: len(repeated)] == repeated  # those that were answered and not yet written


def committed(write):
    committed.counts = []

    def counting(entries):
        write(entries)
        committed.counts.append(len(entries))

    return counting


@pytest.fixture(autouse=True)
def commit_often(monkeypatch):
    monkeypatch.setattr("semise_sdk.ledger.run._ROWS_A_COMMIT", 20)


def test_what_a_killed_process_wrote_beyond_its_journal_is_cut(tmp_path, model, open_ledger):
    whole = finish(open_ledger(tmp_path / "run"), model)
    with (tmp_path / "run" / "audit.jsonl").open("ab") as stream:
        stream.write(b'{"line": 55, "event": "answ')
    model.answered.clear()
    assert finish(open_ledger(tmp_path / "run"), model) == whole
    assert model.answered == []
    starts = [json.loads(line) for line in (tmp_path / "run" / "audit.jsonl").read_text().splitlines()]
    assert [line.get("cut_bytes") for line in starts if line["event"] == "start"] == [None, 27]
    assert verify_run(tmp_path / "run").is_intact


class Interrupted:
    """A connection whose user presses Ctrl-C while one of its commits is on its way to the disk."""

    def __init__(self, connection, *, after: bool) -> None:
        self._connection = connection
        self._after = after

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, text, *values):
        if text == "COMMIT" and not self._after:
            raise KeyboardInterrupt
        cursor = self._connection.execute(text, *values)
        if text == "COMMIT":  # Python raises it as soon as SQLite has returned
            raise KeyboardInterrupt
        return cursor


@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_is_interrupted_while_it_commits_goes_on(after, tmp_path, images, model, open_ledger):
    ledger = open_ledger(tmp_path / "run")
    connection = ledger._journal.connection
    ledger._journal.connection = Interrupted(connection, after=after)
    with pytest.raises(KeyboardInterrupt), ledger:
        list(ledger.answers(model))
    connection.close()
    done = len(rows(tmp_path / "run"))
    assert done == (20 if after else 0)
    model.answered.clear()
    assert finish(open_ledger(tmp_path / "run"), model) == ranked(map(model.answer, find_images(images)))
    assert len(model.answered) == 51 - done
    assert verify_run(tmp_path / "run").is_intact


def test_a_ledger_that_was_interrupted_while_it_committed_can_be_asked_again(tmp_path, images, model, open_ledger):
    for after in (False, True):
        ledger = open_ledger(tmp_path / str(after))
        connection = ledger._journal.connection
        ledger._journal.connection = Interrupted(connection, after=after)
        with pytest.raises(KeyboardInterrupt):
            list(ledger.answers(model))
        ledger._journal.connection = connection
        assert finish(ledger, model) == ranked(map(model.answer, find_images(images)))
        assert verify_run(tmp_path / str(after)).is_intact


def test_a_finished_run_answers_nothing_again_and_new_files_alone(tmp_path, images, model, open_ledger):
    finish(open_ledger(tmp_path / "run"), model)
    (images / "new.png").write_bytes(b"new")
    (images / "ward_0" / "DOE_JANE_0.png").unlink()
    model.answered.clear()
    ranking = finish(open_ledger(tmp_path / "run"), model)
    assert model.answered == ["new.png"]
    assert ranking == ranked(map(model.answer, find_images(images)))  # without the one that is gone
    assert len(rows(tmp_path / "run")) == 52


def test_a_file_that_changed_since_is_answered_anew_and_one_that_was_touched_is_not(
    tmp_path, images, model, open_ledger
):
    finish(open_ledger(tmp_path / "run"), model)
    (images / "ward_0" / "DOE_JANE_0.png").write_bytes(b"another")
    os.utime(images / "ward_1" / "DOE_JANE_1.png", (1, 1))
    model.answered.clear()
    ranking = finish(open_ledger(tmp_path / "run"), model)
    assert model.answered == ["ward_0/DOE_JANE_0.png"]
    assert ranking == ranked(map(model.answer, find_images(images)))
    assert len(rows(tmp_path / "run")) == 51
    report = verify_run(tmp_path / "run", images=lambda: ((0, found) for found in scan_images(images)))
    assert report.is_intact


def test_a_file_that_is_written_to_while_it_is_read_never_keeps_that_answer(tmp_path, images, model, open_ledger):
    changing = images / "ward_0" / "DOE_JANE_0.png"
    writes = iter(range(2))

    def write_again(found):
        if found.source == changing and next(writes, None) is not None:
            changing.write_bytes(b"written at a bad moment %d" % len(model.answered))

    model.before = write_again
    ranking = finish(open_ledger(tmp_path / "run"), model)
    assert model.answered.count("ward_0/DOE_JANE_0.png") == 3
    assert ranking == ranked(map(model.answer, find_images(images)))


def test_a_file_that_never_rests_is_an_error_and_is_tried_again_later(tmp_path, images, model, open_ledger):
    changing = images / "ward_0" / "DOE_JANE_0.png"

    def write_again(found):
        if found.source == changing:
            changing.write_bytes(b"still growing %d" % len(model.answered))

    model.before = write_again
    ranking = finish(open_ledger(tmp_path / "run"), model)
    (row,) = [row for row in ranking if row.file == "ward_0/DOE_JANE_0.png"]
    assert (row.status, row.reason.partition(":")[0], row.severity) == ("error", "changed_while_read", None)
    assert model.answered.count("ward_0/DOE_JANE_0.png") == 1 + RESCORES
    model.before = lambda _found: None
    assert finish(open_ledger(tmp_path / "run"), model) == ranked(map(model.answer, find_images(images)))


def test_a_file_that_could_not_be_read_is_answered_once_it_can_be(tmp_path, images, model, open_ledger):
    lost = images / "ward_0" / "DOE_JANE_0.png"
    kept = lost.read_bytes()

    def lose(found):
        if found.source == lost:
            lost.unlink(missing_ok=True)

    model.before = lose
    with open_ledger(tmp_path / "run") as ledger:
        assert [answer.status for answer in ledger.answers(model)].count("error") >= 2
    lost.write_bytes(kept)
    model.before = lambda _found: None
    assert finish(open_ledger(tmp_path / "run"), model) == ranked(map(model.answer, find_images(images)))


def test_folders_that_hold_files_of_the_same_name_have_a_row_for_each(tmp_path, model, open_ledger):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(folder.encode())
    sources = (tmp_path / "a", tmp_path / "b")
    ranking = finish(open_ledger(tmp_path / "run", sources=sources), model)
    assert [row.file for row in ranking] == ["x.png", "x.png"]
    assert len({row["file"] for row in rows(tmp_path / "run")}) == 2
    model.answered.clear()
    assert finish(open_ledger(tmp_path / "run", sources=sources), model) == ranking
    assert model.answered == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"bundle_sha256": "c" * 64},
            f"the bundle that the run was started with ({'b' * 16}), found another (cccc",
        ),
        ({"reference_sha256": "c" * 64}, "the reference that"),
        ({"precision": "int8"}, "the precision that the run was started with (fp32), found another (int8)"),
        ({"phi": "drop"}, "the --phi that the run was started with (hash), found another (drop)"),
        ({"part": "1/2"}, "the --part that the run was started with (1/1), found another (1/2)"),
        ({"command": "classify"}, "the command that"),
    ],
)
def test_a_run_is_not_continued_with_something_else(change, what, tmp_path, model, open_ledger):
    finish(open_ledger(tmp_path / "run"), model)
    before = (tmp_path / "run" / "audit.jsonl").read_bytes()
    with pytest.raises(LedgerError) as refused:
        open_ledger(tmp_path / "run", **change)
    assert what in str(refused.value)
    assert (tmp_path / "run" / "audit.jsonl").read_bytes() == before


def test_another_key_or_a_lost_one_is_refused(tmp_path, model, open_ledger):
    make_key(tmp_path / "site.key")
    make_key(tmp_path / "other.key")
    finish(open_ledger(tmp_path / "run", key=tmp_path / "site.key"), model)
    assert not (tmp_path / "run" / "phi.key").exists()
    with pytest.raises(LedgerError, match="--phi-key that the run was started with"):
        open_ledger(tmp_path / "run", key=tmp_path / "other.key")
    with pytest.raises(LedgerError, match=r"expected phi\.key in the run folder, found none"):
        open_ledger(tmp_path / "run")
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        open_ledger(tmp_path / "run", key=tmp_path / "nothing.key")


def test_one_key_gives_the_same_pseudonyms_on_every_run(tmp_path, model, open_ledger):
    make_key(tmp_path / "site.key")
    for run in ("one", "two"):
        finish(open_ledger(tmp_path / run, key=tmp_path / "site.key"), model)
    finish(open_ledger(tmp_path / "own"), model)
    one, two, own = ({row["file"] for row in rows(tmp_path / run)} for run in ("one", "two", "own"))
    assert one == two
    assert not one & own


def test_two_processes_do_not_share_a_run(tmp_path, model, open_ledger):
    with open_ledger(tmp_path / "run"), pytest.raises(LedgerError, match="found another at work in it"):
        open_ledger(tmp_path / "run")
    finish(open_ledger(tmp_path / "run"), model)


def test_a_folder_of_something_else_is_left_alone(images, open_ledger):
    before = sorted(path.name for path in images.iterdir())
    with pytest.raises(LedgerError, match="expected a folder of a run or an empty one for --run, found 4 other files"):
        open_ledger(images)
    assert sorted(path.name for path in images.iterdir()) == before


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path, open_ledger):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not write the run folder"):
        open_ledger(tmp_path / "file" / "run")


@posix
def test_a_run_folder_is_its_owners_alone(tmp_path, model, open_ledger):
    mask = os.umask(0)
    try:
        finish(open_ledger(tmp_path / "run"), model)
    finally:
        os.umask(mask)
    run = tmp_path / "run"
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    written = [path for path in run.iterdir() if path.stat().st_size]
    assert {path.name for path in written} == {"audit.jsonl", "journal.sqlite", "phi.key", "run.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}


@pytest.mark.parametrize("phi", ["hash", "drop"])
def test_a_run_folder_holds_no_name(phi, tmp_path, images, model, open_ledger):
    finish(open_ledger(tmp_path / "run", phi=phi), model)
    content = b"".join(path.read_bytes() for path in (tmp_path / "run").iterdir())
    assert b"DOE" not in content
    assert b"ward" not in content
    assert str(images).encode() not in content
    shown = "p-" if phi == "hash" else "image-"
    assert all(row["file"].startswith(shown) for row in rows(tmp_path / "run"))


def test_an_audit_trail_that_was_cut_or_altered_is_not_continued(tmp_path, model, open_ledger):
    finish(open_ledger(tmp_path / "run"), model)
    trail = tmp_path / "run" / "audit.jsonl"
    whole = trail.read_bytes()
    for content, what in ((whole[:-10], "it was cut"), (whole[:-5] + b'00"}\n', "found it altered")):
        trail.write_bytes(content)
        with pytest.raises(LedgerError, match=what):
            open_ledger(tmp_path / "run")
        assert trail.read_bytes() == content


def test_a_damaged_journal_is_not_continued(tmp_path, model, open_ledger):
    finish(open_ledger(tmp_path / "run"), model)
    journal = tmp_path / "run" / "journal.sqlite"
    journal.write_bytes(b"no database" * 1000)
    with pytest.raises(LedgerError, match=r"journal\.sqlite as it was written, found it damaged"):
        open_ledger(tmp_path / "run")


def test_names_of_odd_bytes_have_rows_of_their_own(tmp_path, model, open_ledger):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in (b"\xff\xfe.png", b"\xff\xfd.png", "ü\n'.png".encode(), b"-rf"):
        try:
            (folder / os.fsdecode(name)).write_bytes(name)
        except OSError:
            pytest.skip("this file system takes no odd names")
    for phi in ("keep", "hash"):
        ranking = finish(open_ledger(tmp_path / phi, sources=(folder,), phi=phi), model)
        assert ranking == ranked(map(model.answer, find_images(folder)))
        model.answered.clear()
        assert finish(open_ledger(tmp_path / phi, sources=(folder,), phi=phi), model) == ranking
        assert model.answered == []
        assert verify_run(tmp_path / phi).is_intact
