"""Whatever is altered in a run's folder, its bundle or its inputs is found, and named."""

import json
import os
import sqlite3

import pytest

from semise_sdk.errors import LedgerError
from semise_sdk.images.readers import scan_images
from semise_sdk.ledger import verify_run


@pytest.fixture
def run(tmp_path, images, model, open_ledger):
    with open_ledger(tmp_path / "run") as ledger:
        list(ledger.answers(model))
    (images / "ward_0" / "DOE_JANE_0.png").write_bytes(b"another")  # so that one line of the trail has a later one
    with open_ledger(tmp_path / "run") as ledger:
        list(ledger.answers(model))
    return tmp_path / "run"


def found(report):
    return {check.name: (check.is_ok, check.found) for check in report.checks}


def query(run, text):
    connection = sqlite3.connect(run / "journal.sqlite")
    with connection:
        connection.execute(text)
    connection.close()


def named(images):
    return lambda: ((0, found) for found in scan_images(images))


def test_a_run_that_was_left_alone_is_intact(run, images):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    report = verify_run(run, images=named(images), bundle_sha256="b" * 64)
    assert report.is_intact
    assert report.is_finished
    assert found(report) == {
        "trail": (True, "56 lines"),
        "journal": (True, "51 rows, 1 error, 50 ok"),
        "bundle": (True, f"toy, manifest {'b' * 64}"),
        "inputs": (True, "51 as they were"),
    }
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_an_unfinished_run_is_intact_and_not_finished(tmp_path, model, open_ledger):
    with open_ledger(tmp_path / "run") as ledger:
        next(ledger.answers(model))
        report = verify_run(tmp_path / "run")
    assert report.is_intact
    assert not report.is_finished
    assert verify_run(tmp_path / "run").is_intact


def test_an_altered_line_breaks_the_chain_where_it_is(run):
    trail = run / "audit.jsonl"
    lines = trail.read_text().splitlines(keepends=True)
    place = next(index for index, line in enumerate(lines) if '"ok"' in line)
    lines[place] = lines[place].replace('"ok"', '"OK"')
    trail.write_text("".join(lines))
    is_ok, what = found(verify_run(run))["trail"]
    assert not is_ok
    assert f"expected prev_sha256 in line {place + 2} of audit.jsonl to be that of the line before it" in what
    assert json.loads(lines[place + 1])["prev_sha256"] in what


@pytest.mark.parametrize("keep", [0, 5, -1])
def test_a_trail_that_was_cut_is_found(run, keep):
    trail = run / "audit.jsonl"
    lines = trail.read_bytes().splitlines(keepends=True)
    trail.write_bytes(b"".join(lines[:keep]))
    report = verify_run(run)
    assert not report.is_intact
    assert not found(report)["trail"][0]


def test_a_chain_that_was_written_anew_is_found_by_the_head_that_was_kept(run):
    """Whoever may write the folder can make another chain that agrees with itself; the kept head tells."""
    import hashlib

    head = verify_run(run).head
    lines = [json.loads(line) for line in (run / "audit.jsonl").read_bytes().splitlines()]
    last = hashlib.sha256((run / "run.json").read_bytes()).hexdigest()
    written = []
    for line in lines:
        line["prev_sha256"] = last
        line["time"] = "2000-01-01T00:00:00.000+00:00"
        text = json.dumps(line, ensure_ascii=False).encode()
        last = hashlib.sha256(text).hexdigest()
        written.append(text + b"\n")
    (run / "audit.jsonl").write_bytes(b"".join(written))
    size = len(b"".join(written))
    query(run, f"UPDATE trail SET sha256 = '{last}', size = {size}")  # noqa: S608  # of our own
    query(run, "UPDATE answer SET time = '2000-01-01T00:00:00.000+00:00'")
    query(run, "UPDATE session SET started = '2000-01-01T00:00:00.000+00:00'")
    assert verify_run(run).is_intact
    report = verify_run(run, head=head)
    assert found(report)["head"] == (
        False,
        "expected the trail to hold the head that was kept, found it cut or written anew",
    )
    assert found(verify_run(run, head=last))["head"][0]


def test_a_head_of_an_earlier_end_is_held(tmp_path, model, open_ledger):
    with open_ledger(tmp_path / "run") as ledger:
        list(ledger.answers(model))
        head = ledger.head
    with open_ledger(tmp_path / "run") as ledger:
        list(ledger.answers(model))
        assert ledger.head != head
    assert verify_run(tmp_path / "run", head=head).is_intact


def test_altered_settings_break_the_chain_at_its_start(run):
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"toy"', '"yot"'))
    assert "line 1 of audit.jsonl" in found(verify_run(run))["trail"][1]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE answer SET severity = 2, fields = '{\"severity\": 2}' WHERE number = 7", "found it altered"),
        ("UPDATE answer SET status = 'ok' WHERE status = 'error'", "found it altered"),
        ("DELETE FROM answer WHERE number = 7", "found none: it was taken away"),
        (
            "INSERT INTO answer SELECT 99, x'00', file, status, reason, severity, grade, fields, input_sha256, stamp, "
            "session, time, 999 FROM answer WHERE number = 7",
            "found none for one at line 999",
        ),
        ("UPDATE answer SET input_sha256 = 'f' WHERE number = 7", "found it altered"),
        ("UPDATE answer SET severity = 2 WHERE number = 7", "found it altered"),
        ("UPDATE answer SET grade = 'mild' WHERE status = 'error'", "found it altered"),
        ("UPDATE answer SET session = 2 WHERE session = 1", "found it altered"),
        ("UPDATE session SET provider = 'another'", "expected session 1 as in audit.jsonl, found it altered"),
        ("UPDATE answer SET identity = x'00' WHERE number = 7", "found it altered"),
        ("DELETE FROM session", "expected session 1 as in audit.jsonl, found it altered"),
    ],
)
def test_an_altered_row_is_found(run, change, what):
    query(run, change)
    is_ok, problem = found(verify_run(run))["journal"]
    assert not is_ok
    assert what in problem


def test_another_bundle_is_found(run):
    assert "found that the run is of" in found(verify_run(run, bundle_sha256="c" * 64))["bundle"][1]
    query(run, "UPDATE session SET bundle_sha256 = 'd'")
    assert "found 'd' in the journal" in found(verify_run(run))["bundle"][1]


def test_inputs_that_changed_fail_and_those_out_of_reach_are_counted(run, images):
    (images / "DOE_EMPTY.png").unlink()
    (images / "new.png").write_bytes(b"new")
    checks = found(verify_run(run, images=named(images)))
    assert checks["inputs"] == (True, "50 as they were, 1 not in the journal, 1 out of reach")
    (images / "ward_1" / "DOE_JANE_1.png").write_bytes(b"another")
    checks = found(verify_run(run, images=named(images)))
    assert checks["inputs"] == (False, "expected the inputs as they were, found 1 changed: rank them again")


@pytest.mark.skipif(os.name != "posix", reason="needs the modes of POSIX files")
def test_a_run_on_a_medium_that_cannot_be_written_is_verified(run, images):
    run.chmod(0o500)
    try:
        assert verify_run(run, images=named(images)).is_intact
    finally:
        run.chmod(0o700)


@pytest.mark.parametrize("missing", ["run.json", "journal.sqlite"])
def test_a_folder_without_a_run_is_refused(run, missing):
    (run / missing).unlink()
    with pytest.raises(LedgerError, match=f"expected {missing} in the run folder, found none"):
        verify_run(run)


def test_a_trail_that_is_gone_is_found(run):
    (run / "audit.jsonl").unlink()
    assert found(verify_run(run))["trail"] == (False, "expected readable files, found FileNotFoundError")


def test_a_damaged_page_of_the_journal_is_found(run):
    journal = run / "journal.sqlite"
    content = bytearray(journal.read_bytes())
    place = content.rindex(b"image-") if b"image-" in content else content.rindex(b"p-")
    page = place - place % 4096
    content[page : page + 200] = b"\xff" * 200
    journal.write_bytes(content)
    assert not verify_run(run).is_intact


def test_another_key_is_refused(run, images, tmp_path):
    from semise_sdk.privacy import make_key

    make_key(tmp_path / "other.key")
    with pytest.raises(LedgerError, match="found another: give --phi-key"):
        verify_run(run, images=named(images), key=tmp_path / "other.key")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 2, "format": "semise-run"}', '{"schema": 1, "format": "semise-run"}', "[" * 9999],
)
def test_damaged_settings_are_one_sentence(run, text):
    (run / "run.json").write_text(text)
    with pytest.raises(
        LedgerError, match=r"^expected .*the run folder's run\.json to be .*, found .*: it is damaged, start anew$"
    ):
        verify_run(run)
