"""Which TensorRT is taken, what its messages become, and what is said where there is none."""

import importlib
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from semise_sdk.backends.tensorrt import library as libraries
from semise_sdk.backends.tensorrt.library import load_library, plain
from semise_sdk.errors import BackendError


@pytest.fixture
def installed(monkeypatch):
    """Makes some modules findable, each a stand-in of a version or an error."""

    def set_up(**modules: object) -> None:
        def load(name: str) -> object:
            found = modules[name]
            if isinstance(found, Exception):
                raise found
            base = type("ILogger", (), {"Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)})
            return SimpleNamespace(__version__=found, ILogger=base)

        monkeypatch.setattr(libraries.util, "find_spec", modules.get)
        monkeypatch.setattr(importlib, "import_module", load)
        monkeypatch.setattr(libraries, "_preload_rtx", lambda: None)

    libraries._load.cache_clear()
    yield set_up
    libraries._load.cache_clear()


@pytest.mark.parametrize(
    ("modules", "prefer_rtx", "chosen"),
    [
        ({"tensorrt": "10.9", "tensorrt_rtx": "1.7"}, False, "TensorRT 10.9"),
        ({"tensorrt": "11.4", "tensorrt_rtx": "1.7"}, True, "TensorRT-RTX 1.7"),
        ({"tensorrt": "11.4"}, True, "TensorRT 11.4"),
        ({"tensorrt_rtx": "1.6", "tensorrt_rtx_bindings": "1.7"}, False, "TensorRT-RTX 1.6"),
        ({"tensorrt_rtx_bindings": "1.7"}, False, "TensorRT-RTX 1.7"),
        ({"tensorrt": OSError("libnvinfer.so.11: missing"), "tensorrt_rtx": "1.7"}, False, "TensorRT-RTX 1.7"),
    ],
)
def test_the_first_that_loads_is_taken(installed, modules, prefer_rtx, chosen):
    installed(**modules)
    assert str(load_library(prefer_rtx=prefer_rtx)) == chosen


def test_none_installed_names_the_command_that_brings_it(installed):
    installed()
    with pytest.raises(BackendError, match=r"found none installed: pip install 'semise-sdk\[rtx\]'"):
        load_library()


def test_a_broken_one_says_what_is_broken(installed):
    installed(tensorrt=OSError("libnvinfer.so.11: cannot open"))
    with pytest.raises(BackendError, match=r"found tensorrt: libnvinfer.so.11: cannot open: install it again with pip"):
        load_library()


def test_a_tensorrt_before_10_is_refused(installed):
    installed(tensorrt="8.6.1")
    with pytest.raises(BackendError, match=r"expected TensorRT 10 or newer, found 8\.6\.1"):
        load_library()


def test_messages_go_to_logging_and_errors_are_kept_for_whoever_raises_them(library, caplog):
    severity = library.trt.ILogger.Severity
    library.messages.take_errors()
    with caplog.at_level(logging.DEBUG):
        library.messages.receiver.log(severity.ERROR, "bad")
        library.messages.receiver.log(severity.VERBOSE, "chatter")
        library.messages.receiver.log(severity.WARNING, "odd")
    levels = {record.getMessage(): record.levelno for record in caplog.records}
    assert levels == {"TensorRT: bad": logging.INFO, "TensorRT: chatter": logging.DEBUG, "TensorRT: odd": logging.INFO}
    assert library.messages.take_errors() == ["bad"]
    assert library.reason("nothing said") == "nothing said"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("IBuilder::build: Error Code 1: Myelin (no FP32. In compile at /_src/a/b.cpp:20)", "Myelin (no FP32)"),
        ("Invalid Node - x\nA::b: Error Code 4: API Usage Error (bad type. In check at /x.cpp:4)\nmore",
         "API Usage Error (bad type)"),
        ("Assertion failed: model->Parse(&a): Failed to parse.", "Failed to parse."),
        ("IRuntime::x: Error Code 1: Cuda Runtime (In make at /_src/c.cpp:25 (cudaError 35: driver is old))",
         "Cuda Runtime ((cudaError 35: driver is old))"),
        ("plain words", "plain words"),
        ("", "no reason given"),
    ],
)  # fmt: skip
def test_messages_are_told_without_their_source_lines(message, said):
    assert plain(message) == said


def test_importing_the_backend_loads_neither_tensorrt_nor_cuda():
    code = (
        "import sys, semise_sdk.backends.tensorrt;"
        "print([m for m in sys.modules if m.split('.')[0] in ('cuda', 'onnxruntime_ep_nv_tensorrt_rtx')"
        " or m.startswith('tensorrt')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_fresh_process_loads_the_bare_bindings_without_help(library):
    """The libraries are found in the wheel that holds them; nothing in this process has loaded them before."""
    code = (
        "from semise_sdk.backends.tensorrt.library import load_library;"
        "found = load_library(prefer_rtx=True); found.trt.Builder(found.messages.receiver); print(found)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(library)
