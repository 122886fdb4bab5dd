"""The wheel in an environment of its own, with nothing but the runtime's needs: it ranks as here, and is typed."""

import os
import subprocess
import sys
import tarfile
import textwrap
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ("numpy", "onnxruntime", "pillow", "rich", "safetensors", "simplejpeg", "typer")
# pydantic is not among them: typer requires it.
HEAVY = {
    "torch", "torchvision", "timm", "kornia", "segmentation-models-pytorch", "scipy", "scikit-learn", "pyyaml",
    "matplotlib", "jinja2", "onnx", "onnxscript", "nncf", "openvino", "pydicom", "cryptography",
}  # fmt: skip
TYPED = ("semise_sdk/py.typed", "semise_training/py.typed", "semise_export/py.typed")
RANK = "from semise_sdk.cli.app import main; main()"


def bare() -> dict[str, str]:
    """Returns this environment without what would lead an interpreter, or mypy, back to the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH", "PYTHONHOME")}


def environment(folder: Path) -> Path:
    """Returns the interpreter of a new virtual environment."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=bare(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of the sdist and the wheel, built by the backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("built")
    python = environment(folder / "builder")
    run(python, "-m", "pip", "install", "--quiet", "hatchling>=1.27", cwd=folder)
    run(python, "-m", "hatchling", "build", "-d", folder / "dist", cwd=ROOT)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The interpreter of an environment that holds the wheel with ``[cpu]``, in the releases of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    releases = folder / "releases.txt"
    releases.write_text("".join(f"{name}=={version(name)}\n" for name in RUNTIME), encoding="utf-8")
    python = environment(folder / "environment")
    run(python, "-m", "pip", "install", "--quiet", "-c", releases, f"{wheel}[cpu]", cwd=folder)
    return python


def test_all_three_packages_ship_their_types(built, wheel):
    with zipfile.ZipFile(wheel) as archive:
        assert set(TYPED) <= set(archive.namelist())
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"semise_sdk/py.typed", "training/semise_training/py.typed", "export/semise_export/py.typed"} <= names


def test_nothing_of_training_or_export_comes_along(installed, tmp_path):
    listed = run(installed, "-m", "pip", "list", "--format", "freeze", cwd=tmp_path)
    names = {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    assert "onnxruntime" in names
    assert names & HEAVY == set()
    where = run(installed, "-c", "import semise_sdk; print(semise_sdk.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parents[1])


def test_it_ranks_byte_for_byte_as_the_development_environment(installed, calibrated_bundle, phantoms, tmp_path):
    ranked = []
    for python, path in ((sys.executable, sys.path), (installed, [])):
        code = f"import sys; sys.path[:0] = {[folder for folder in path if folder]!r}; {RANK}"
        arguments = ("rank", phantoms.parent / "images", "--bundle", calibrated_bundle, "--backend", "onnxruntime")
        ranked.append(run(python, "-c", code, *arguments, cwd=tmp_path))
    assert len(ranked[0].splitlines()) > 60
    assert ranked[1] == ranked[0]


TYPES = """
from pathlib import Path
from typing import assert_type

from semise_sdk import Bundle, ModelInfo, Predictor, RankedImage, Ranking, Severity, Timeline, Visit, read_visits

with Predictor.open("bundle", backend="onnxruntime") as predictor:
    assert_type(predictor, Predictor)
    ranking = predictor.rank([Path("a.png")])
    assert_type(ranking, Ranking)
    assert_type(ranking.rows, tuple[RankedImage, ...])
    assert_type(ranking.rows[0].severity, float | None)
    for row in predictor.iter_severity("images"):
        assert_type(row, Severity)
    visits = read_visits(Path("visits.csv"))
    assert_type(visits, tuple[Visit, ...])
    assert_type(predictor.timeline(visits), Timeline)
with Bundle.open("bundle") as bundle:
    assert_type(bundle, Bundle)
    assert_type(bundle.model, ModelInfo)
    assert_type(bundle.model.labels, tuple[str, ...])
"""
WRONG = """
from semise_sdk import Predictor, read_visits

read_visits(7)
with Predictor.open("bundle") as predictor:
    predictor.rank("images").rows[0].severity + 1
    predictor.rank("images", reference=3.5)
    predictor.sort("images")
"""


def mypy(installed: Path, snippet: str, folder: Path) -> tuple[int, list[str]]:
    """Returns mypy's exit code and the codes of its errors, in the order of the lines."""
    path = folder / "snippet.py"
    path.write_text(textwrap.dedent(snippet), encoding="utf-8")
    options = ("--strict", "--disallow-any-expr", "--config-file=", "--cache-dir", folder / "cache")
    command = (sys.executable, "-m", "mypy", *options, "--python-executable", installed, path)
    done = subprocess.run(list(map(str, command)), cwd=folder, env=bare(), capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    return done.returncode, [line.rpartition("[")[2].rstrip("]") for line in errors] or done.stdout.splitlines()


def test_strict_mypy_sees_real_types_in_a_users_code(installed, tmp_path):
    assert mypy(installed, TYPES, tmp_path) == (0, ["Success: no issues found in 1 source file"])


def test_strict_mypy_sees_wrong_uses(installed, tmp_path):
    code, errors = mypy(installed, WRONG, tmp_path)
    assert (code, errors) == (1, ["arg-type", "operator", "arg-type", "attr-defined"])
