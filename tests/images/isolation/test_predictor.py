"""The predictor with and without isolation: the same answers, and processes only where they are wanted."""

import sys
import threading

import numpy as np
import pytest

from semise_sdk.errors import BackendError, ImageReadError
from semise_sdk.images.isolation import ReaderLimits
from semise_sdk.predictor import Predictor


@pytest.fixture
def folder(tmp_path, picture):
    """Three images, a broken one and a text."""
    data = picture.read_bytes()
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "broken.png").write_bytes(data[:100])
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_answers_are_the_same(lenient_bundle, folder, children):
    rankings = []
    for isolate in (True, False):
        with Predictor.open(lenient_bundle, backend="onnxruntime", isolate=isolate) as predictor:
            rankings.append(predictor.rank(folder, reference=folder / "a.png"))
            assert bool(children()) is isolate
            shown = predictor.display(folder / "a.png")
            assert (shown.shape, shown.dtype) == ((40, 50, 3), np.uint8)
        assert children() == []
    assert rankings[0] == rankings[1]
    assert [row.status for row in rankings[0].rows] == ["ok", "ok", "ok", "error", "error"]


def test_without_isolation_and_for_arrays_nothing_is_started(lenient_bundle, folder):
    started: list[str] = []
    is_watching = True
    watched = ("subprocess.Popen", "os.fork", "os.posix_spawn", "pickle.find_class")
    sys.addaudithook(lambda event, _: started.append(event) if is_watching and event in watched else None)
    with Predictor.open(lenient_bundle, backend="onnxruntime", isolate=False) as predictor:
        assert len(predictor.rank(folder).rows) == 5
    with Predictor.open(lenient_bundle, backend="onnxruntime") as predictor:
        assert predictor.rank(np.zeros((9, 9), np.uint8)).rows[0].status == "ok"
    is_watching = False
    assert started == []


def test_limits_are_the_callers(lenient_bundle, folder, children):
    limits = ReaderLimits(images=1)
    with Predictor.open(lenient_bundle, backend="onnxruntime", workers=1, limits=limits) as predictor:
        assert [row.status for row in predictor.iter_severity(folder)] == ["ok", "ok", "error", "error", "ok"]
        assert len(children()) <= 1


def test_a_stream_that_is_left_leaves_no_process(lenient_bundle, folder, children):
    with Predictor.open(lenient_bundle, backend="onnxruntime", batch_size=1) as predictor:
        stream = predictor.iter_severity([folder / "a.png"] * 200)
        next(stream)
        stream.close()
    assert children() == []


def test_closing_from_another_thread_leaves_no_process(lenient_bundle, folder, children):
    predictor = Predictor.open(lenient_bundle, backend="onnxruntime", batch_size=1)
    stream = predictor.iter_severity([folder / "a.png"] * 500)
    next(stream)
    closing = threading.Thread(target=predictor.close)
    closing.start()
    with pytest.raises(BackendError, match="found it closed"):
        for _ in stream:
            pass
    closing.join(timeout=20)
    assert not closing.is_alive()
    assert children() == []


@pytest.mark.parametrize("isolate", [True, False])
def test_display_refuses_what_is_no_image(lenient_bundle, tmp_path, isolate):
    with Predictor.open(lenient_bundle, isolate=isolate) as predictor:
        for source, code in ((tmp_path, "not_a_file"), (b"text", "not_an_image"), (tmp_path / "x", "not_found")):
            with pytest.raises(ImageReadError) as found:
                predictor.display(source)
            assert found.value.code == code
        with pytest.raises(TypeError, match="expected a path, bytes or an array"):
            predictor.display(3)
    with pytest.raises(BackendError, match="found it closed"):
        predictor.display(b"text")
