import json
import re
import subprocess
import sys
import tracemalloc
from html.parser import HTMLParser

import pytest

from semise_sdk.errors import ConfigError, OutputError
from semise_sdk.reports.html_page import page_file
from semise_sdk.reports.worklist import RowPictures, page_paths, write_worklist
from semise_sdk.reports.worklist.page import policy
from semise_sdk.results import INTENDED_USE, Ranking

MODEL = {"bundle": "b", "labels": ("healthy", "mild", "severe")}


class Reader(HTMLParser):
    """Gathers the tags of a page, and the text of those it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def rows_of(path) -> list[dict]:
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])[
        "rows"
    ]


def ranking_of(rows) -> Ranking:
    return Ranking(rows=tuple(rows), reference="bundle", backend="toy:cpu")


def test_one_page_holds_every_row_in_order_and_what_it_was_computed_with(small_ranking, write):
    (page,) = write(small_ranking)
    found = read(page)
    assert [row["file"] for row in rows_of(page)][:4] == ["blurred.png", "torn.png", "no_reason", "case_1.png"]
    assert sum(tag == "tr" and "data-i" in attributes for tag, attributes in found.tags) == 15
    for fact in ("tiny", "healthy.png", "onnxruntime:CPUExecutionProvider", "2026-11-24 00:00 UTC"):
        assert fact in found.text


def test_the_page_says_how_often_grade_sets_hold(small_ranking, write):
    (page,) = write(small_ranking, grade_sets="aim 90 %, hold 91.3 %")
    assert "Grade\N{NO-BREAK SPACE}setsaim 90 %, hold 91.3 %" in read(page).text
    (page,) = write(small_ranking)
    assert "Grade\N{NO-BREAK SPACE}sets" not in read(page).text


def test_the_page_asks_nobody_for_anything(small_ranking, write):
    (page,) = write(small_ranking)
    for tag, attributes in read(page).tags:
        assert not {"srcset", "style", "action", "formaction"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert (attributes.get("src") or "data:").startswith("data:image/webp;base64,") or not attributes.get("src")
        assert "href" not in attributes


def test_the_policy_names_the_style_and_script_that_the_page_holds(small_ranking, write):
    import base64
    import hashlib

    (page,) = write(small_ranking)
    text = page.read_text(encoding="utf-8")
    policies = [attributes["content"] for tag, attributes in read(page).tags if "http-equiv" in attributes]
    assert policies == [policy()]
    assert policies[0].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policies[0]


def test_what_it_is_not_for_stands_on_the_page_whatever_the_options(small_ranking, write):
    for options in ({}, {"illustrate": None}, {"labels": ()}):
        ranking = small_ranking if options != {"labels": ()} else ranking_of(())
        assert f'<p class="banner">{INTENDED_USE}</p>' in write(ranking, **options)[0].read_text(encoding="utf-8")


def test_more_rows_than_a_page_holds_become_pages_that_link_each_other(small_ranking, write):
    pages = write(small_ranking, rows_per_page=6)
    assert [page.name for page in pages] == ["worklist.html", "worklist-2.html", "worklist-3.html"]
    assert [len(rows_of(page)) for page in pages] == [6, 6, 3]
    for number, page in enumerate(pages, 1):
        found = read(page)
        links = [(a["href"], "aria-current" in a) for tag, a in found.tags if tag == "a"]
        assert links == [(other.name, place == number) for place, other in enumerate(pages, 1)]
        assert "Severity of all 12 ranked images; 1 not scored and 2 unreadable" in found.text


@pytest.mark.parametrize(("name", "link"), [("a b#50%", "a%20b%2350%25-2"), ("scan\udcff", "scan%FF-2")])
def test_a_link_leads_to_a_page_of_any_name(small_ranking, tmp_path, name, link):
    pages = write_worklist(tmp_path / f"{name}.html", small_ranking, **MODEL, rows_per_page=10)
    assert f'href="{link}.html"' in pages[0].read_text(encoding="utf-8")
    assert all(page.is_file() for page in pages)


@pytest.mark.parametrize("name", ["worklist.csv", "worklist", ".html/"])
def test_a_worklist_is_an_html_file(tmp_path, small_ranking, name):
    with pytest.raises(ConfigError, match=r"name to end in \.html, found"):
        write_worklist(tmp_path / name, small_ranking, **MODEL)
    assert list(tmp_path.iterdir()) == []


def test_paths_of_pages(tmp_path):
    assert page_paths(tmp_path / "x.HTML", 2) == (tmp_path / "x.HTML", tmp_path / "x-2.HTML")


def test_hostile_names_and_reasons_are_text(hostile, hostile_ranking, write):
    (page,) = write(hostile_ranking, bundle=hostile[0])
    found = read(page)
    names = [row["file"] for row in rows_of(page)]
    assert names == [name.encode("utf-8", "backslashreplace").decode() for name in hostile] * 2
    assert [attributes for tag, attributes in found.tags if any(name.startswith("on") for name in attributes)] == []
    scripts = [attributes for tag, attributes in found.tags if tag == "script"]
    assert [s for s in scripts if s.get("type") != "application/json"] == [{}]
    assert "{{ 7 * 7 }}" in found.text
    assert not re.search(
        "[\u202a-\u202e\u2066-\u2069]", re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.S)
    )


def test_a_grade_set_an_interval_a_tie_and_a_percentile_are_shown(small_ranking, write):
    text = read(write(small_ranking)[0]).text
    for shown in (
        "healthy to severe",
        "only mild",
        "1.150 to 1.250",
        "shares place 5 with 1 more",
        "96.0",
        "wide_set",
    ):
        assert shown in text, shown


def test_columns_without_a_value_are_left_out(ranked_row, write):
    rows = [ranked_row(grade=None), ranked_row(rank=2, file="b.png", grade=None)]
    (page,) = write(ranking_of(rows), labels=())
    sorts = [attributes["data-sort"] for _, attributes in read(page).tags if "data-sort" in attributes]
    assert sorts == ["rank", "file", "severity", "status", "review"]


def test_an_empty_ranking_says_so(write):
    (page,) = write(ranking_of(()))
    assert "No images: this worklist is empty." in read(page).text


def test_details_are_in_the_page_where_there_are_pictures(small_ranking, write):
    text = write(small_ranking)[0].read_text(encoding="utf-8")
    blocks = [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert len(blocks) == 13
    assert set(blocks[0]) == {"image", "map", "mask", "area", "reference"}
    assert 'application/json">' not in write(small_ranking, illustrate=None)[0].read_text(encoding="utf-8")


def test_references_are_carried_once(small_ranking, write):
    text = write(small_ranking, references=[b"RIFFone", b"RIFFtwo"])[0].read_text(encoding="utf-8")
    assert text.count("data:image/webp;base64,UklGRm9uZQ==") == 1


def test_a_page_appears_whole_or_not_at_all(small_ranking, write, tmp_path):
    path = tmp_path / "worklist.html"
    path.write_text("old")

    def failing(rows):
        yield RowPictures()
        raise OutputError("no space")

    with pytest.raises(OutputError):
        write_worklist(path, small_ranking, **MODEL, illustrate=failing)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["worklist.html"]


def test_the_first_page_is_written_last_so_that_its_links_lead_somewhere(small_ranking, tmp_path):
    seen = []

    def illustrate(rows):
        seen.append(sorted(found.name for found in tmp_path.glob("*.html")))
        return [RowPictures()] * len(rows)

    write_worklist(tmp_path / "w.html", small_ranking, **MODEL, illustrate=illustrate, rows_per_page=5)
    assert seen == [[], ["w-3.html"], ["w-2.html", "w-3.html"]]


def test_pictures_of_another_number_of_rows_are_a_bug_that_shows(small_ranking, tmp_path):
    with pytest.raises(ValueError, match="zip"):
        write_worklist(tmp_path / "w.html", small_ranking, **MODEL, illustrate=lambda rows: [RowPictures()])


def test_without_jinja_the_command_that_brings_it_is_named(small_ranking, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigError, match=r"pip install 'semise-sdk\[report\]'"):
        write_worklist(tmp_path / "w.html", small_ranking, **MODEL)


def test_memory_does_not_grow_with_the_pictures(ranked_row, tmp_path):
    """500 rows of 40 kB are 20 MB of pictures and 27 MB of page, written in a few MB."""
    rows = [ranked_row(rank=place, file=f"{place}.png") for place in range(1, 501)]
    pictures = (RowPictures(thumbnail=bytes([place % 256]) * 40_000) for place in range(500))
    write_worklist(tmp_path / "first.html", ranking_of(()), **MODEL)  # the template is read once and kept
    tracemalloc.start()
    (page,) = write_worklist(tmp_path / "w.html", ranking_of(rows), **MODEL, illustrate=lambda _: pictures)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert page.stat().st_size > 26e6
    assert peak < 3e6


def test_the_script_and_style_are_light():
    assert len(page_file("semise_sdk.reports.worklist", "page.js")) < 17_000
    assert len(page_file("semise_sdk.reports.worklist", "page.css")) < 14_000
    assert "</script" not in page_file("semise_sdk.reports.worklist", "page.js")


def test_the_package_that_fills_the_page_in_is_imported_when_it_is_needed():
    code = "import sys, semise_sdk.reports.worklist, semise_sdk.cli.app; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
