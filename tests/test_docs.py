"""Every link, path and module that the documentation names is there."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]

LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)")
FILE = re.compile(r"(?<![\w./-])((?:semise_sdk|training|export|tests|benchmarks|docs)/[\w./-]*[\w/])")
MODULE = re.compile(r"(?<![\w./])((?:semise_sdk|semise_training|semise_export)(?:\.\w+)+)(?![\w/])")


def anchors(page: Path) -> set[str]:
    """Returns the fragments that a link to this page may have, as code hosts make them of headings."""
    headings = re.findall(r"^#+ +(.+?)\s*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_there(link: str, page: Path) -> bool:
    """Returns whether what a relative link names is there, its heading included."""
    name, _, fragment = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not fragment or fragment in anchors(target))


def resolves(dotted: str) -> bool:
    """Returns whether a dotted name is a module, or what one holds."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        try:
            for name in parts[count:]:
                found = getattr(found, name)
        except AttributeError:
            return False
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_blank_is_left(page: Path) -> None:
    assert not re.findall(r"\{[A-Z_]+\d*\}", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not re.match(r"\w+:", link)]
    assert [link for link in links if not is_there(link, page)] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_file_and_folder_that_is_named_is_there(page: Path) -> None:
    assert [name for name in FILE.findall(page.read_text(encoding="utf-8")) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_module_that_is_named_is_there_with_what_it_is_said_to_hold(page: Path) -> None:
    named = {name for name in MODULE.findall(page.read_text(encoding="utf-8")) if not name.endswith((".py", ".json"))}
    assert sorted(name for name in named if not resolves(name)) == []


def test_the_checks_find_what_is_missing(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A heading, *really*\n[a](gone.md) [b](#a-heading-really) [c](page.md#other)\n", encoding="utf-8")
    assert [is_there(link, page) for link in LINK.findall(page.read_text(encoding="utf-8"))] == [False, True, False]
    assert FILE.findall("see `semise_sdk/gone.py`, tests/x/, and other/docs/y") == ["semise_sdk/gone.py", "tests/x/"]
    assert resolves("semise_sdk.predictor.Predictor.open")
    assert not resolves("semise_sdk.predictor.Foreteller")
    assert not resolves("semise_sdk.gone")
