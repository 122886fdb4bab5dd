"""Images read in processes of their own: the same pixels, and a death, a hang or a flood costs one row."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from semise_sdk.errors import BackendError, ImageReadError
from semise_sdk.images.isolation import InProcessReader, IsolatedReader, ReaderLimits, process
from semise_sdk.images.reading import FailedImage, ReadImage
from semise_sdk.images.record import NamedImage
from semise_sdk.spec import InputSpec

SPEC = InputSpec(height=24, width=32, pad_value=7)


def assert_same(found, expected):
    if isinstance(expected, FailedImage):
        assert found == expected
        return
    assert isinstance(found, ReadImage)
    assert (found.file, found.canvas.geometry) == (expected.file, expected.canvas.geometry)
    np.testing.assert_array_equal(found.canvas.pixels, expected.canvas.pixels)


def reason(reader: IsolatedReader, source: bytes | Path) -> str:
    slot = reader.read(NamedImage("x", source), SPEC)
    assert isinstance(slot, FailedImage)
    return slot.reason


def assert_reads(reader: IsolatedReader, picture: Path) -> None:
    image = NamedImage("p", picture)
    assert_same(reader.read(image, SPEC), InProcessReader().read(image, SPEC))


def test_answers_are_those_of_this_process(isolated, picture, tmp_path):
    odd = tmp_path / os.fsdecode(b"n\xc3\xa4me \xff\n<b>.png")
    odd.write_bytes(picture.read_bytes())
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:90])
    sources = [picture, odd, tmp_path / "cut.png", tmp_path / "absent", tmp_path, picture.read_bytes(), b"", b"text"]
    reader = isolated()
    for source in sources:
        image = NamedImage("name", source)
        assert_same(reader.read(image, SPEC), InProcessReader().read(image, SPEC))


def test_odd_names_have_their_row_and_cost_no_process(isolated, picture, children):
    reader = isolated()
    assert_reads(reader, picture)
    pid = children()[0].pid
    for name in ("a\0b", "a\ud800", "x" * 5000, "-rf", ".."):
        assert reason(reader, Path(name)).startswith(("not_found: ", "not_readable: ", "not_a_file: "))
    assert_reads(reader, picture)
    assert children()[0].pid == pid


def test_dicom_and_its_policy_reach_the_other_process(isolated):
    pytest.importorskip("pydicom", reason="needs pydicom: pip install 'semise-sdk[dicom]'")
    from pydicom.data import get_testdata_file

    image = NamedImage("ct", Path(str(get_testdata_file("CT_small.dcm"))))
    with_ct = InputSpec(
        height=32, width=32, intensity="dicom_voi", dicom=type(SPEC.dicom)(sop_classes=("1.2.840.10008.5.1.4.1.1.2",))
    )
    reader = isolated()
    for spec in (SPEC, with_ct):
        assert_same(reader.read(image, spec), InProcessReader().read(image, spec))
    assert isinstance(reader.read(image, with_ct), ReadImage)


def test_a_picture_for_the_display_is_that_of_this_process(isolated, picture):
    image = NamedImage("p", picture)
    reader = isolated()
    np.testing.assert_array_equal(reader.display(image, SPEC), InProcessReader().display(image, SPEC))
    with pytest.raises(ImageReadError, match="found none of them"):
        reader.display(NamedImage("t", b"text"), SPEC)
    with pytest.raises(ImageReadError, match="needs DICOM") as found:
        reader.display(image, InputSpec(height=24, width=32, intensity="dicom_voi"))
    assert found.value.code == "does_not_fit"


def test_an_array_stays_here_and_starts_no_process(isolated, children):
    image = NamedImage("array[0]", np.zeros((5, 6), np.uint8))
    reader = isolated()
    assert_same(reader.read(image, SPEC), InProcessReader().read(image, SPEC))
    assert reader.display(image, SPEC).shape == (5, 6, 3)
    assert children() == []


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGKILL", "SIGBUS"])
def test_a_process_that_dies_costs_its_image(rogue, picture, name):
    reader = rogue()
    assert_reads(reader, picture)
    expected = (
        f"reader_died: '<bytes>': expected to read the image, found that the process reading it was ended by {name}"
    )
    assert reason(reader, f"signal {name}".encode()).startswith(expected)
    assert_reads(reader, picture)


def test_a_process_that_exits_costs_its_image(rogue, picture, tmp_path):
    (tmp_path / "bad.dcm").write_bytes(b"exit 3")
    reader = rogue()
    assert "reader_died: 'bad.dcm': expected" in reason(reader, tmp_path / "bad.dcm")
    assert "ended with code 3" in reason(reader, b"exit 3")
    assert_reads(reader, picture)


def test_a_hang_ends_at_the_limit(rogue, picture, children):
    reader = rogue(seconds=0.5)
    assert_reads(reader, picture)
    started = time.monotonic()
    assert reason(reader, b"hang").startswith("reader_timeout: '<bytes>': expected to read the image within 0.5 s")
    assert time.monotonic() - started < 3
    assert_reads(reader, picture)
    assert len(children()) == 1


def test_a_decoder_that_never_ends_does_so_at_the_limit(isolated, picture, dicom):
    """CharLS 2.4 behind pyjpegls 1.5.1 turns in a circle on these 340 bytes: one of 2,000 mutated JPEG-LS images."""
    pytest.importorskip("jpeg_ls", reason="needs pyjpegls: pip install 'semise-sdk[dicom]'")
    head = bytes.fromhex("ffd8fff70011080030002803011100021100031100ffda000c03010002000300000200000021009e")
    frame = head + bytes(288) + bytes.fromhex("ab45ff7ffcf8e40bff7fff03")
    data = dicom(np.zeros((48, 40, 3), np.uint8), frames=[frame], syntax="1.2.840.10008.1.2.4.80")
    reader = isolated(seconds=1.5)
    assert reason(reader, data).startswith(("reader_timeout", "damaged"))  # a later CharLS may end
    assert_reads(reader, picture)


def test_a_process_that_was_stopped_ends_at_the_limit(isolated, picture, children):
    reader = isolated(seconds=0.5)
    assert_reads(reader, picture)
    children()[0].suspend()
    assert reason(reader, picture.read_bytes() * 400).startswith("reader_timeout")  # more than the pipe holds
    assert_reads(reader, picture)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process's memory")
def test_memory_ends_at_the_limit(rogue, picture, children):
    reader = rogue(memory_bytes=300 << 20)
    assert reason(reader, b"allocate 2000000000").startswith("out_of_memory: expected to hold the image in memory")
    assert reason(reader, bytes(301 << 20)).startswith("out_of_memory")  # it does not even fit in there
    assert_reads(reader, picture)
    assert children()[0].rlimit(psutil.RLIMIT_AS) == (300 << 20, 300 << 20)
    assert children()[0].rlimit(psutil.RLIMIT_CORE) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process's memory")
def test_an_image_does_not_suffer_from_what_an_earlier_one_left(rogue, picture):
    reader = rogue(memory_bytes=600 << 20)
    assert reason(reader, b"keep 300000000").startswith("empty_file")
    assert reason(reader, b"allocate 400000000").startswith("empty_file"), "there is room in a fresh process"
    assert reason(reader, b"corrupt").startswith("empty_file")
    assert_reads(reader, picture)


def test_what_a_decoder_prints_goes_nowhere(rogue, picture, capfd):
    reader = rogue()
    assert reason(reader, b"flood").startswith("empty_file")
    assert_reads(reader, picture)
    reader.close()
    assert capfd.readouterr() == ("", "")


def test_an_unforeseen_error_says_its_type_alone(rogue):
    found = reason(rogue(), b"raise")
    assert found.startswith("unforeseen: RuntimeError while reading")
    assert "JANE" not in found


@pytest.mark.parametrize(
    "answer",
    [
        "send(a, {'status': 'odd'})",
        "send(a, {'status': 'canvas', 'height': 9, 'width': 9}, b'x')",
        "a.write(b'x' * 99)",
    ],
)
def test_a_process_that_answers_nonsense_is_ended(isolated, monkeypatch, answer, picture, children):
    code = process._CODE.split("from semise_sdk")[0] + (
        "from semise_sdk.images.isolation.confinement import private_pipes\n"
        "from semise_sdk.images.isolation.protocol import receive, send\n"
        "r, a = private_pipes(); send(a, {'status': 'ready'}); receive(r, max_payload=1 << 30)\n"
        f"{answer}; a.flush(); receive(r, max_payload=1)"
    )
    monkeypatch.setattr(process, "_CODE", code)
    reader = isolated()
    assert reason(reader, picture).startswith("reader_died: 'picture.png': expected to read the image, found")
    reader.close()
    assert children() == []


def test_neighbours_of_bad_files_are_read_as_ever(rogue, picture):
    bad = [b"signal SIGSEGV", b"exit 1", b"flood", b"hang", b"allocate 9000000000", b"raise", b"corrupt"]
    reader = rogue(processes=3, seconds=1.0)
    images = [source for each in bad for source in (each, picture, picture.read_bytes())] * 2
    with ThreadPoolExecutor(6) as pool:
        slots = list(pool.map(lambda source: reader.read(NamedImage("n", source), SPEC), images))
    expected = InProcessReader().read(NamedImage("n", picture), SPEC)
    for source, slot in zip(images, slots, strict=True):
        if source in bad:
            assert isinstance(slot, FailedImage)
        else:
            assert_same(slot, expected)


def test_a_process_is_replaced_after_its_share_of_images(isolated, picture, children):
    reader = isolated(images=2)
    seen = set()
    for _ in range(5):
        assert_reads(reader, picture)
        seen |= {child.pid for child in children()}
    assert len(seen) >= 2
    reader.close()
    assert children() == []


def test_one_that_died_while_it_waited_is_replaced(isolated, picture, children):
    reader = isolated()
    assert_reads(reader, picture)
    children()[0].kill()
    assert_reads(reader, picture)


def test_no_more_processes_than_allowed(isolated, picture, children):
    reader = isolated(processes=2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: assert_reads(reader, picture), range(24)))
    assert 1 <= len(children()) <= 2


def test_nothing_is_left_after_close_and_nothing_is_read(rogue, picture, children):
    reader = rogue(processes=2)
    assert_reads(reader, picture)
    threads = [thread for thread in threading.enumerate() if thread.name == "semise-reader"]
    reader.close()
    reader.close()
    assert children() == []
    assert not any(thread.is_alive() for thread in threads)
    with pytest.raises(BackendError, match="found it closed"):
        reader.read(NamedImage("p", picture), SPEC)


def test_closing_ends_what_still_reads(rogue, picture, children, monkeypatch):
    monkeypatch.setattr("semise_sdk.images.isolation.reader._END_SECONDS", 0.5)
    reader = rogue(seconds=60)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(reason, reader, b"hang")
        while not (reader._all and next(iter(reader._all)).asked):
            time.sleep(0.01)
        reader.close()
        with pytest.raises(BackendError, match="found it closed"):
            job.result(timeout=10)
    assert children() == []


def test_closing_while_a_process_starts_keeps_nobody_waiting(isolated, picture, children, monkeypatch):
    monkeypatch.setattr(process, "_CODE", f"import time; time.sleep(0.5); {process._CODE}")
    reader = isolated(seconds=60)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(reason, reader, picture)
        while not reader._all:
            time.sleep(0.01)
        reader.close()
        with pytest.raises(BackendError, match="found it closed"):
            job.result(timeout=20)
    assert children() == []


def test_nothing_is_left_of_a_reader_that_was_forgotten(picture, children):
    reader = IsolatedReader(1)
    assert_reads(reader, picture)
    assert len(children()) == 1
    del reader
    gc.collect()
    assert children() == []


def test_a_thread_that_ends_takes_no_process_along(isolated, picture):
    """Linux ends a child with the thread that started it, not with its process."""
    reader = isolated()
    for _ in range(3):
        thread = threading.Thread(target=assert_reads, args=(reader, picture))
        thread.start()
        thread.join()
        time.sleep(0.05)
    assert len(reader._all) == 1


def test_a_host_without_python_is_told_what_to_do(isolated, picture, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(BackendError, match=r"refused by the system: no such file.*isolate=False \(--no-isolate\)"):
        isolated().read(NamedImage("p", picture), SPEC)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(BackendError, match="with no known Python, found it refused"):
        isolated().read(NamedImage("p", picture), SPEC)


def test_a_frozen_program_does_not_start_itself(isolated, picture, monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(BackendError, match="the host has no Python interpreter to start; open the predictor with"):
        isolated().read(NamedImage("p", picture), SPEC)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_narrow_pipes_are_good_enough(isolated, picture, monkeypatch):
    monkeypatch.setattr(process, "_PIPE_BYTES", 1 << 40)  # refused to every user
    assert_reads(isolated(), picture)


def test_a_process_that_cannot_start_is_told_from_a_bad_image(isolated, picture, monkeypatch):
    monkeypatch.setattr(process, "_CODE", "raise SystemExit(4)")
    with pytest.raises(BackendError, match="found it ended with code 4"):
        isolated().read(NamedImage("p", picture), SPEC)
    monkeypatch.setattr(process, "_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(process, "START_SECONDS", 0.3)
    with pytest.raises(BackendError, match=r"took more than 0\.3 s to start"):
        isolated().read(NamedImage("p", picture), SPEC)


def test_nothing_is_unpickled_in_either_process(isolated, picture, monkeypatch):
    hook = "import sys; sys.addaudithook(lambda event, _: event.startswith('pickle.') and __import__('os')._exit(9)); "
    monkeypatch.setattr(process, "_CODE", hook + process._CODE)
    events: list[str] = []
    is_watching = True
    sys.addaudithook(lambda event, _: events.append(event) if is_watching and event.startswith("pickle.") else None)
    assert_reads(isolated(), picture)
    is_watching = False
    assert events == []


def test_the_other_process_loads_no_engine_and_sees_little_of_the_environment(isolated, picture, children, monkeypatch):
    monkeypatch.setenv("HOSPITAL_TOKEN", "secret")
    check = (
        "import sys; from semise_sdk.images.isolation import worker; answer = worker._answer\n"
        "unwanted = {'torch', 'onnx', 'onnxruntime', 'openvino', 'pydicom', 'typer', 'rich'}\n"
        "worker._answer = lambda *both: sys.exit(1) if unwanted & set(sys.modules) else answer(*both)\n"
    )
    monkeypatch.setattr(process, "_CODE", process._CODE.replace("; from", f"\n{check}from"))
    reader = isolated()
    assert_reads(reader, picture)
    assert "HOSPITAL_TOKEN" not in children()[0].environ()


def test_ctrl_c_and_hangups_of_the_terminal_do_not_reach_it(isolated, picture, children):
    reader = isolated()
    assert_reads(reader, picture)
    pid = children()[0].pid
    assert os.getsid(pid) != os.getsid(0)
    os.kill(pid, signal.SIGINT)
    assert_reads(reader, picture)
    assert children()[0].pid == pid


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_none_outlives_its_parent(picture, how):
    code = (
        # A suite that runs in the background ignores Ctrl-C, and what it starts would too.
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from semise_sdk.images.sources import NamedImage\n"
        "from semise_sdk.images.isolation import IsolatedReader; from semise_sdk.spec import InputSpec\n"
        "reader = IsolatedReader(1); reader.read(NamedImage('p', Path(sys.argv[1])), InputSpec(height=24, width=32))\n"
        "print(*[one._process.pid for one in reader._all], flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, picture], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(how)
        parent.wait(timeout=10)
        complaints = parent.stderr.read()
    deadline = time.monotonic() + 5
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(pid)
    assert complaints.count("Traceback") == (1 if how == signal.SIGINT else 0)


def test_a_fork_leaves_its_parents_processes_alone(isolated, picture, children):
    reader = isolated()
    assert_reads(reader, picture)
    pid = os.fork() if sys.version_info < (3, 12) else 0
    if pid == 0 and sys.version_info < (3, 12):
        reader._finalizer()
        os._exit(0)
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
    assert len(children()) == 1
    assert_reads(reader, picture)


@pytest.mark.parametrize("wrong", [{"memory_bytes": 1000}, {"seconds": 0.0}, {"seconds": float("nan")}, {"images": 0}])
def test_limits_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected memory_bytes of at least 268,435,456"):
        ReaderLimits(**wrong)
