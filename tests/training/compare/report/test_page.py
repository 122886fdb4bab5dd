"""The page: everything is in it, and nothing outside it is asked for."""

import re
from html.parser import HTMLParser

import pytest

from semise_training.compare.cells.cells import CodeVersion
from semise_training.compare.report.figures import Drawn
from semise_training.compare.report.page import facts_of, write_page
from semise_training.compare.report.report import report
from semise_training.compare.report.tables import build_tables

LOADING = {"src", "href", "srcset", "poster", "action", "background", "data", "xlink:href"}


class References(HTMLParser):
    """Collects what a page would load, and its tags."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.found += [value for name, value in attrs if name in LOADING]


def references(text):
    parser = References()
    parser.feed(text)
    assert not parser.tags & {"script", "link", "iframe", "object", "embed", "base"}
    assert not re.search(r"url\(|@import", text)
    return parser.found


def test_a_real_page_loads_nothing_from_outside(compared):
    report(compared, repeats=20)
    text = (compared / "comparison.html").read_text(encoding="utf-8")
    found = references(text)
    assert found
    assert all(each.startswith("data:image/") for each in found)
    assert "default-src 'none'" in text
    assert "Lesion masks" in text
    assert all(f"<td>{name}" in text for name in ("majority †", "imagenet", "semise"))


def test_grades_are_text_whatever_they_are_called(make_cell, tmp_path):
    import dataclasses

    cells = [dataclasses.replace(make_cell(), labels=("<script>alert(1)</script>", "b", "c"))]
    tables = build_tables(cells, part="test", repeats=5)
    write_page(tmp_path / "page.html", cells, tables, [Drawn("x.svg", '"><img src=http://x>', b"<svg/>")])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert references(text) == ["data:image/svg+xml;base64,PHN2Zy8+"]
    assert "&lt;script&gt;" in text


def test_facts_name_every_value_where_cells_differ(make_cell):
    import dataclasses

    cells = [make_cell(), dataclasses.replace(make_cell(fold=1), code=CodeVersion("a" * 40, True))]
    facts = facts_of(cells)
    assert facts["Code"] == "outside a checkout; aaaaaaaaaaaa with changes"
    assert facts["Splits"] == "5 folds"
    assert facts["Machine"] == "a processor, 2 cores"


@pytest.mark.parametrize("part", ["test", "val"])
def test_equal_cells_make_equal_files(compared, part):
    folder = compared if part == "test" else compared / part
    report(compared, part=part, repeats=10)
    first = {path.name: path.read_bytes() for path in folder.glob("*.*")}
    report(compared, part=part, repeats=10)
    assert {path.name: path.read_bytes() for path in folder.glob("*.*")} == first
    assert ("fig2.png" in first) == (part == "test")


def test_curves_are_drawn_where_there_are_several_points(make_cell, make_answers):
    from pathlib import Path

    from semise_training.compare.report.figures import draw_figures

    cells = [
        make_cell(fold=fold, alpha=alpha, fraction=fraction, val=make_answers(3))
        for fold in (0, 1)
        for alpha, fraction in ((None, 1.0), (0.5, 1.0), (None, 0.1), (None, 0.5))
    ]
    tables = build_tables(cells, part="test", repeats=10)
    drawn = {figure.name: figure for figure in draw_figures(Path("nowhere"), cells, tables)}
    assert set(drawn) == {"fig3.svg", "labels.svg"}
    assert all(figure.content.startswith(b"<?xml") for figure in drawn.values())
