"""``import semise_sdk`` and a model-free command stay light: hospital software pays for no engine it does not use."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "onnx", "onnxruntime", "openvino", "tensorrt", "scipy", "sklearn", "pydicom")

MODULES = (
    "semise_sdk",
    "semise_sdk.cli.app",
    "semise_sdk.cli.commands.compare",
    "semise_sdk.backends.registry",
    "semise_sdk.workflows.verify",
)


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
    commands += ["info", "doctor", "init", "data check", "data import", "compare", "bench", "merge", "verify-run"]
    commands += ["calibrate"]
    done = subprocess.run([sys.executable, "-c", code, *commands], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith(f"{[0] * len(commands)} []")


def test_reading_a_png_loads_no_dicom_package(tmp_path):
    from PIL import Image

    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    code = (
        "import sys; from semise_sdk.images.readers import read_image\n"
        "read_image(sys.argv[1]); print('pydicom' in sys.modules)"
    )
    path = str(tmp_path / "x.png")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", ["train", "compare --methods semise", "train --resume --out run"])
def test_a_command_that_trains_names_the_extra_that_it_needs(command, tmp_path):
    (tmp_path / "data.csv").write_text("image,severity\na.png,0\n")
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': raise ModuleNotFoundError('absent', name='torch')\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from semise_sdk.cli.app import run; sys.exit(run(sys.argv[1:]))"
    )
    arguments = [*command.split(), *([] if "--resume" in command else [str(tmp_path / "data.csv")])]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    name = command.split()[0]
    sentence = f"semise {name} needs the package torch, which is not installed: pip install 'semise-sdk[train]'"
    assert sentence in " ".join(done.stderr.split())
