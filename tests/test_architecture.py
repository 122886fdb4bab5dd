"""``docs/architecture.md`` says what the code is: its rooms, their sentences, the layers, the picture, the names."""

import ast
import importlib.util
import pkgutil
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGES = {"semise_sdk": ROOT, "semise_training": ROOT / "training", "semise_export": ROOT / "export"}

_spec = importlib.util.spec_from_file_location("import_graph", ROOT / "benchmarks" / "import_graph.py")
import_graph = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(import_graph)


def section(heading: str) -> str:
    """Returns the text under a heading, up to the next heading of any level."""
    return re.split(r"^#+ ", PAGE.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows_on_the_page(package: str) -> dict[str, tuple[str, list[str]]]:
    cells = re.findall(r"^\| `(\w+)` \| (.*?) \|(?: (.*))? \|$", section(package), re.MULTILINE)
    return {room: (sentence, re.findall(r"`(\w+)`", inside)) for room, sentence, inside in cells}


def rooms_of_the_tree(package: str) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    for path in sorted((PACKAGES[package] / package).iterdir()):
        source = path / "__init__.py" if path.is_dir() else path
        if source.is_file() and source.suffix == ".py" and path.name != "__init__.py":
            inside = [wing.parent.name for wing in sorted(path.glob("*/__init__.py"))]
            yield path.stem, (first_line(source), inside)


def first_line(source: Path) -> str:
    """Returns the first line of a module's docstring as Markdown."""
    line = (ast.get_docstring(ast.parse(source.read_text())) or "").partition("\n")[0]
    return re.sub(r":\w+:`", "`", line.replace("``", "`"))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_lists_every_room_and_no_other_with_the_sentence_of_its_docstring(package):
    assert rows_on_the_page(package) == dict(rooms_of_the_tree(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_is_in_it(package):
    sources = sorted((PACKAGES[package] / package).rglob("__init__.py"))
    silent = [str(source.relative_to(ROOT)) for source in sources if not first_line(source).endswith(".")]
    assert silent == []


@pytest.mark.parametrize(("before", "contract"), [("The runtime", "the runtime's"), ("Training", "training's")])
def test_the_layers_are_those_of_the_contracts(before, contract):
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(entry["layers"] for entry in contracts if entry["name"] == f"{contract} layers")
    shown = section("The layers").split(f"{before}:\n\n```text\n")[1].split("\n```")[0]
    assert shown.splitlines() == layers


def test_every_box_and_arrow_of_the_picture_is_in_the_code():
    picture = section("The picture").split("```mermaid\n")[1].split("```")[0]
    boxes = set(re.findall(r"^ {4,8}(\w+)$", picture, re.MULTILINE)) - {"end"}
    drawn = set(re.findall(r"^ {4}(\w+) -\.?-> (\w+)$", picture, re.MULTILINE))
    modules = import_graph.modules_of(ROOT)
    parsed = {module: ast.parse(path.read_text()) for module, path in modules.items()}
    real = {(box(a), box(b)) for a in modules for b in import_graph.imported(parsed[a], modules)}
    wings = {room for room, _ in rooms_of_the_tree("semise_sdk")} - {"spreadsheet"}
    assert boxes == wings | {"semise_training", "semise_export"}
    assert len(drawn) == picture.count("->")
    assert drawn - real == set()


def box(module: str) -> str:
    """Returns the box of a module: its room in semise_sdk, else its package."""
    package, *rest = module.split(".")
    return rest[0] if package == "semise_sdk" and rest else package


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(semise_\w+(?:\.\w+)+)`", PAGE))))
def test_every_name_exists(name):
    assert pkgutil.resolve_name(name) is not None


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+/(?:\w+\.py)?)`", PAGE + CONTRIBUTING))))
def test_every_path_on_this_page_and_in_contributing_exists(path):
    places = [ROOT, *(root / package for package, root in PACKAGES.items())]
    assert any((place / path).exists() for place in places)
