"""R5: while a predictor loads and runs, nothing is unpickled, compiled, started or sent: by Python's audit hook."""

import inspect
import io
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from semise_sdk.bundle import pack
from semise_sdk.predictor import Predictor

# Code that no import brought in is foreign: an import compiles and executes files of installed packages alone.
CHILD = textwrap.dedent("""
    import json, os, sys
    bundle, images, backend, options = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.forkpty",
                 "subprocess.Popen", "pty.spawn", "socket.", "ftplib.", "http.client.", "urllib.Request", "smtplib.",
                 "webbrowser.open", "marshal.load", "code.__new__", "cpython.run_", "shelve.open", "ctypes.dlopen")
    events, counts, is_watched = [], {}, False

    def is_of_an_import():
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return True
            frame = frame.f_back
        return False

    def hook(event, arguments):
        if not is_watched:
            return
        counts[event] = counts.get(event, 0) + 1
        is_code = event in ("compile", "exec", "marshal.loads", "code.__new__", "ctypes.dlopen", "marshal.load")
        if (is_code or event.startswith(FORBIDDEN)) and not is_of_an_import():
            events.append([event, repr(arguments)[:200]])

    sys.addaudithook(hook)
    from semise_sdk.predictor import Predictor
    WARM
    is_watched = True
    with Predictor.open(bundle, backend=backend, **options) as predictor:
        ranking = predictor.rank(images)
        predictor.analyze(images)
        predictor.classify(images)
        predictor.embed(images)
        predictor.segment(images)
        statuses = [row.status for row in ranking.rows]
    is_watched = False
    PLANT
    print(json.dumps([statuses, events, counts]))
""")


def run(bundle, images, backend: str, *, warm: str = "", plant: str = "") -> tuple[list, list, dict]:
    # a predictor that decodes in processes of its own is told not to
    options = {"isolate": False} if "isolate" in inspect.signature(Predictor.open).parameters else {}
    code = CHILD.replace("WARM", warm or "pass").replace("PLANT", textwrap.indent(plant, "") or "pass")
    command = [sys.executable, "-c", code, str(bundle), str(images), backend, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    statuses, events, counts = json.loads(done.stdout.splitlines()[-1])
    return statuses, events, counts


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for index, suffix in enumerate(("png", "jpg", "tif", "png")):
        Image.fromarray(np.full((30, 20 + index, 3), 60 * index + 10, np.uint8)).save(folder / f"{index}.{suffix}")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:50])
    (folder / "pickle.png").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    return folder


def write_dicom(dicom, folder) -> int:
    """Writes an image for each codec that a DICOM file may be decoded by, and returns how many there are."""
    from pydicom import dcmread, uid

    plain = dicom(np.arange(6400, dtype=np.uint16).reshape(80, 80))
    (folder / "plain.dcm").write_bytes(plain)
    codecs = (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless)
    for codec in codecs:
        dataset = dcmread(io.BytesIO(plain))
        dataset.compress(codec)
        dataset.save_as(folder / f"{codec}.dcm")
    return 1 + len(codecs)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_nothing_is_unpickled_compiled_started_or_sent(
    backend, kind, write_colour_bundle, images, dicom, figure, tmp_path
):
    pytest.importorskip(backend)
    codecs = write_dicom(dicom, images)
    bundle = write_colour_bundle(tmp_path / "bundle")
    if kind == "archive":
        pack(bundle, tmp_path / "bundle.semise")
        bundle = tmp_path / "bundle.semise"
    # OpenVINO's package looks for its libraries while it is imported; a plain import starts its telemetry (ADR 5), and
    # a fork of that was seen here.
    warm = "from semise_sdk.backends.openvino import engine; engine()" if backend == "openvino" else ""
    statuses, events, counts = run(bundle, images, backend, warm=warm)
    figure(f"{backend}, {kind}: pickles, code, processes, sockets", len(events))
    assert statuses.count("error") == 2
    assert len(statuses) == 6 + codecs
    assert events == []
    assert counts["open"] > 5  # the hook was there


@pytest.mark.parametrize(
    ("plant", "event"),
    [
        ("import pickle; is_watched = True; pickle.loads(pickle.dumps(os.getcwd))", "pickle.find_class"),
        ("is_watched = True; exec('1')", "exec"),
        ("is_watched = True; os.system('true')", "os.system"),
        ("import subprocess; is_watched = True; subprocess.run(['true'])", "subprocess.Popen"),
        ("import socket; is_watched = True; socket.socket().close()", "socket.__new__"),
    ],
)
def test_the_hook_sees_what_it_is_there_for(plant, event, write_colour_bundle, images, tmp_path):
    _, events, _ = run(write_colour_bundle(tmp_path / "bundle"), images, "onnxruntime", plant=plant)
    assert event in {name for name, _ in events}
