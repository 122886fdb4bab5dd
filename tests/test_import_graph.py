"""``benchmarks/import_graph.py`` on a made-up checkout whose every figure is known."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "import_graph.py"

FILES = {
    "semise_sdk/__init__.py": "from semise_sdk.top import answer\n",
    "semise_sdk/top.py": (
        "from semise_sdk import low\n"  # names the module low, not the package's root
        "from semise_sdk.wing.inner import number\n"
        "from semise_sdk.wing.other import number as other\n"  # the same arrow once more
        "\n"
        "def answer():\n"
        '    """The docstring does not count.\n'
        "\n"
        '    Nor does this."""\n'
        "    value = number()\n"
        "\n"
        "    return value\n"
    ),
    "semise_sdk/low.py": "def lazy():\n    from semise_sdk import top\n    return top\n",
    "semise_sdk/side.py": (
        "import numpy.linalg\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from semise_sdk.low import lazy\n"
    ),
    "semise_sdk/wing/__init__.py": "",
    "semise_sdk/wing/inner.py": "from semise_sdk.wing import other\n\ndef number(): return 1\n",
    "semise_sdk/wing/other.py": "from semise_sdk.wing.inner import number\n",
    "training/semise_training/__init__.py": "",
    "training/semise_training/learn.py": "import semise_sdk.low\nfrom semise_sdk import answer\n",
    "pyproject.toml": (
        '[[tool.importlinter.contracts]]\ntype = "layers"\ncontainers = ["semise_sdk"]\n'
        'layers = ["top", "(wing)", "low | side"]\n'
        '[[tool.importlinter.contracts]]\ntype = "forbidden"\n'
    ),
}


def make_tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_figure_of_a_small_tree(tmp_path):
    tree = make_tree(tmp_path / "tree", FILES)
    done = run_script("--tree", tree, "--json", tmp_path / "graph.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "graph.json").read_text()) == {
        str(tree): {
            "modules at the root of semise_sdk": 3,
            "rooms": 5,
            "rooms of semise_sdk": 4,
            "arrows between rooms": 5,  # top -> low, top -> wing, low -> top, side -> low, learn -> low
            "arrows inside semise_sdk": 4,
            "arrows that run up": ["semise_sdk.low -> semise_sdk.top", "semise_sdk.side -> semise_sdk.low"],
            "circles of rooms": [["semise_sdk.low", "semise_sdk.top"]],
            "circles of files": [
                ["semise_sdk.low", "semise_sdk.top"],
                ["semise_sdk.wing.inner", "semise_sdk.wing.other"],
            ],
            "lines of semise_sdk": 23,
            "lines of semise_training": 2,
            "lines of semise_export": 0,
            "lines of source": 25,
            "functions": 3,
            "95th percentile of function length": 3,
            "longest function": "3 lines, semise_sdk/top.py:answer",
        }
    }


def test_two_trees_stand_side_by_side(tmp_path):
    before = make_tree(tmp_path / "before", FILES)
    after = make_tree(tmp_path / "after", {**FILES, "semise_sdk/low.py": ""})
    done = run_script("--tree", before, "--tree", after, "--json", tmp_path / "graph.json")
    assert done.returncode == 0, done.stderr
    circles = [report["circles of rooms"] for report in json.loads((tmp_path / "graph.json").read_text()).values()]
    assert [len(found) for found in circles] == [1, 0]
    row = next(line for line in done.stdout.splitlines() if "functions" in line)
    assert [text.strip() for text in row.split("│")[2:4]] == ["3", "2"]


def test_a_folder_without_the_packages_is_refused(tmp_path):
    done = run_script("--tree", tmp_path)
    assert done.returncode != 0
    assert f"found none in {tmp_path}" in done.stderr


@pytest.mark.parametrize("figure", ["circles of rooms", "circles of files", "arrows that run up"])
def test_this_tree_has_no_circle_and_no_arrow_that_runs_up(figure, this_tree):
    assert this_tree[figure] == []


def test_few_modules_lie_at_the_root(this_tree):
    assert this_tree["modules at the root of semise_sdk"] <= 8


@pytest.fixture(scope="module")
def this_tree(tmp_path_factory):
    out = tmp_path_factory.mktemp("graph") / "graph.json"
    assert run_script("--tree", ROOT, "--json", out).returncode == 0
    return json.loads(out.read_text())[str(ROOT)]
