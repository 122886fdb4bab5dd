"""``import semise_sdk`` and a model-free command stay light: hospital software pays for no engine it does not use."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "tensorrt", "scipy", "sklearn", "pydicom")

MODULES = ("semise_sdk", "semise_sdk.cli.app", "semise_sdk.backends.registry", "semise_sdk.replay")


@pytest.mark.parametrize("module", MODULES)
def test_importing_loads_no_engine_and_no_trainer(module):
    heavy = (*HEAVY, "semise_training", "semise_export")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_explains_itself_without_an_engine():
    code = (
        "import sys; from semise_sdk.cli.app import run\n"
        "codes = [run([*command.split(), '--help']) for command in sys.argv[1:]]\n"
        f"print(codes, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    commands = ["train", "export", "rank", "classify", "segment", "analyze", "embed", "evaluate", "demo", "verify"]
    commands += ["info", "doctor", "init", "data check", "data import"]
    done = subprocess.run([sys.executable, "-c", code, *commands], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith(f"{[0] * len(commands)} []")


def test_reading_a_png_loads_no_dicom_package(tmp_path):
    from PIL import Image

    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    code = (
        "import sys; from semise_sdk.readers import read_image\n"
        "read_image(sys.argv[1]); print('pydicom' in sys.modules)"
    )
    path = str(tmp_path / "x.png")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
