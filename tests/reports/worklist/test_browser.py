"""The page in a browser: what it does, that it asks nobody for anything, and that everybody can use it."""

import csv
import io
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from semise_sdk.reports.worklist.rows import page_order
from semise_sdk.results import Ranking
from semise_sdk.tables.spreadsheet import neutralised, restored
from semise_sdk.tables.write import utf8_text, write_ranking

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CASES = [f"case_{place}.png" for place in range(1, 13)]


@contextmanager
def open_tab(browser, **options):
    """Yields an empty page, and the list of any message of its console, error, or request for anything but itself."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True, **options)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("request", lambda request: _only_itself(request, complaints))
    yield page, complaints
    context.close()


@contextmanager
def open_page(browser, path, **options):
    """Yields the page in a tab of its own; fails on any complaint."""
    with open_tab(browser, **options) as (page, complaints):
        page.goto(path.as_uri())
        yield page
    assert complaints == []


def _only_itself(request, complaints):
    is_inside = request.url.startswith(("data:", "blob:"))
    if not is_inside and not (request.url.startswith("file:") and request.is_navigation_request()):
        complaints.append(f"request: {request.url}")


@pytest.fixture(scope="module")
def path(write, small_ranking):
    return write(small_ranking)[0]


@pytest.fixture(scope="module")
def tab(browser):
    """One tab for every test that leaves it as it was but for the page's own state: a new one takes a second."""
    with open_tab(browser) as (page, complaints):
        page.on("dialog", lambda dialog: dialog.accept())  # the page before may ask to save its reviews
        yield page, complaints


@pytest.fixture
def show(tab):
    """Returns what opens a page afresh in the tab; fails on any complaint."""
    page, complaints = tab
    complaints.clear()

    def opened(path: Path):
        page.goto(path.as_uri())
        return page

    yield opened
    assert complaints == []


@pytest.fixture
def page(show, path):
    return show(path)


def files(page, kind: str = "") -> list[str]:
    # not their inner text, which a row that was not laid out yet has none of
    return page.locator(f"tbody{kind} tr[data-i]:not([hidden]) .open").all_text_contents()


def saved(page, kind: str) -> str:
    page.locator(".menu summary").click()
    with page.expect_download() as download:
        page.locator(f"[data-save={kind}]").click()
    return Path(download.value.path()).read_bytes().decode("utf-8")


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def open_row(page, file: str) -> None:
    page.get_by_role("button", name=file, exact=True).click()


def current(page) -> str:
    return page.locator("tr.current .open").text_content()


def test_the_band_is_on_top_and_stays_there_however_the_rows_are_sorted(page):
    waiting = ["blurred.png", "torn.png", "no_reason"]
    assert files(page) == [*waiting, *CASES]
    page.locator("[data-sort=rank]").click()
    assert files(page) == [*waiting, *CASES[::-1]]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("Rank")
    page.locator("[data-sort=file]").click()
    assert files(page) == ["blurred.png", "no_reason", "torn.png", *CASES]


@pytest.mark.parametrize(
    ("key", "rising", "falling"),
    [
        ("severity", CASES[::-1], CASES),
        ("percentile", [*CASES[:3:-1], *CASES[2::-1], "case_4.png"], [*CASES[:3], *CASES[4:], "case_4.png"]),
        ("grade", [*CASES[8:], *CASES[4:8], *CASES[:4]], [*CASES[:4], *CASES[4:8], *CASES[8:]]),
        ("status", ["case_4.png", *CASES[:3], *CASES[4:]], [*CASES[:3], *CASES[4:], "case_4.png"]),
    ],
)
def test_rows_are_sorted_by_a_column_and_then_turned_equal_ones_by_rank(page, key, rising, falling):
    for expected in (rising, falling):
        page.locator(f"[data-sort={key}]").click()
        assert files(page, ".ranked") == expected


def test_reviewed_rows_are_sorted_and_filtered_too(page):
    open_row(page, "case_7.png")
    page.keyboard.press("a")
    page.locator("[data-sort=review]").click()
    assert files(page, ".ranked")[0] == "case_7.png"
    page.locator("#reviewed").select_option("agree")
    assert files(page) == ["case_7.png"]
    page.locator("#reviewed").select_option("none")
    assert len(files(page)) == 14


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"text": "CASE_1"}, ["case_1.png", "case_10.png", "case_11.png", "case_12.png"]),
        ({"text": "blur sharp"}, ["blurred.png"]),
        ({"text": "wide_set"}, ["case_4.png"]),
        ({"status": "human"}, ["blurred.png", "torn.png", "no_reason"]),
        ({"status": "error"}, ["torn.png", "no_reason"]),
        ({"status": "review"}, ["case_4.png"]),
        ({"grade": "healthy"}, CASES[8:]),
        ({"low": "1.0"}, CASES[:3]),
        ({"high": "0.2"}, CASES[10:]),
        ({"low": "0.95", "high": "1.1"}, CASES[1:3]),
        ({"status": "human", "low": "0"}, []),
    ],
)
def test_filters(page, filters, expected):
    for name, value in filters.items():
        field = page.locator(f"#{name}")
        field.select_option(value) if name in ("status", "grade") else field.fill(value)
    assert files(page) == expected
    assert page.locator("#shown").inner_text() == f"{len(expected)} of 15 shown"
    assert page.locator("#nothing").is_visible() == (not expected)
    page.locator("#reset").click()
    assert len(files(page)) == 15


def test_a_band_without_a_row_that_fits_is_gone_with_its_heading(page):
    page.locator("#status").select_option("ok")
    assert not page.locator("tbody.human").is_visible()
    assert page.locator("tbody.ranked").is_visible()


def test_a_row_opens_its_image_map_and_mask(page):
    open_row(page, "case_2.png")
    assert page.locator("#p-file").inner_text() == "case_2.png"
    assert page.locator("#p-severity").inner_text() == "severity 1.100"
    for layer in ("p-image", "p-map", "p-mask"):
        page.wait_for_function("id => document.getElementById(id).naturalWidth > 0", arg=layer)
    assert page.locator("#p-area").inner_text() == "(16.7 % of the image)"
    assert page.locator("#p-map").evaluate("layer => layer.style.opacity") == "0.5"
    page.locator("#opacity").fill("20")
    assert page.locator("#p-map").evaluate("layer => layer.style.opacity") == "0.2"
    page.locator("#map-on").uncheck()
    page.locator("#mask-on").uncheck()
    assert not page.locator("#p-map").is_visible()
    assert not page.locator("#p-mask").is_visible()
    width = page.locator("#p-image").bounding_box()["width"]
    page.locator("#zoom").fill("2")
    assert page.locator("#p-image").bounding_box()["width"] == pytest.approx(2 * width, rel=0.05)
    assert "healthy\n20.0 %" in page.locator("#p-grades").inner_text()
    assert "1.050 to 1.150" in page.locator("#p-facts").inner_text()


def test_layers_lie_exactly_over_the_image(page):
    open_row(page, "case_1.png")
    boxes = [page.locator(f"#{layer}").bounding_box() for layer in ("p-image", "p-map", "p-mask")]
    assert boxes[0] == boxes[1] == boxes[2]
    assert boxes[0]["width"] / boxes[0]["height"] == pytest.approx(80 / 60, rel=0.01)


def test_a_row_without_a_picture_says_so_and_shows_none_of_the_row_before(page):
    open_row(page, "case_1.png")
    page.keyboard.press("Escape")
    open_row(page, "torn.png")
    assert page.locator("#p-none").inner_text() == "There is no picture of this row."
    assert not page.locator("#p-image").is_visible()
    assert page.locator("#p-reason").inner_text().startswith("truncated 'torn.png': expected more data")
    assert page.locator("#p-grades").inner_text() == ""


def test_a_row_beyond_the_budget_says_why_it_has_no_picture(show, write, small_ranking, illustrate):
    from semise_sdk.reports.worklist import RowPictures

    def thumbnails(rows):
        return (RowPictures(thumbnail=pictures.thumbnail) for pictures in illustrate(rows))

    page = show(write(small_ranking, illustrate=thumbnails)[0])
    open_row(page, "case_1.png")
    assert "no room for a larger picture" in page.locator("#p-none").inner_text()
    assert not page.locator("#p-layers").is_visible()


def test_the_nearest_reference_is_shown_where_the_page_carries_it(show, write, small_ranking, illustrate):
    def near(rows):
        return (replace(pictures, reference=1) for pictures in illustrate(rows))

    thumbnails = [pictures.thumbnail for pictures in illustrate(small_ranking.rows[:2])]
    page = show(write(small_ranking, illustrate=near, references=thumbnails)[0])
    open_row(page, "case_1.png")
    shown = page.get_by_alt_text("Nearest healthy reference")
    page.wait_for_function("() => document.querySelector('#p-reference img').naturalWidth > 0")
    assert shown.is_visible()


def test_without_references_there_is_no_place_for_one(page):
    open_row(page, "case_1.png")
    assert not page.locator("#p-reference").is_visible()


def test_the_keyboard_alone_is_enough(page):
    for _ in range(4):
        page.keyboard.press("j")
    assert current(page) == "case_1.png"
    page.keyboard.press("Enter")
    assert page.locator("#panel").is_visible()
    assert page.evaluate("document.activeElement.innerText") == "case_1.png"
    page.keyboard.press("j")
    page.keyboard.press("a")
    page.keyboard.press("j")
    page.keyboard.press("d")
    page.keyboard.press("k")
    assert current(page) == page.locator("#p-file").inner_text() == "case_2.png"
    assert page.locator("[data-verdict=agree]").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Escape")
    assert not page.locator("#panel").is_visible()
    assert page.evaluate("document.activeElement.innerText") == "case_2.png"
    page.keyboard.press("k")
    page.keyboard.press("u")
    reviews = page.locator("td.review").all_text_contents()
    assert reviews[3:6] == ["ungradable", "agree", "disagree"]
    page.keyboard.press("u")
    assert page.locator("td.review").all_text_contents()[3] == ""
    assert page.locator("#shown").inner_text() == "15 of 15 shown, 2 reviewed"


def test_the_ends_of_the_list_are_where_stepping_stops(page):
    for _ in range(20):
        page.keyboard.press("j")
    assert current(page) == "case_12.png"
    for _ in range(20):
        page.keyboard.press("k")
    assert current(page) == "blurred.png"


def test_letters_typed_into_a_field_are_text_and_keys_can_be_turned_off(page):
    page.keyboard.press("/")
    page.keyboard.type("jadu")
    assert page.locator("#text").input_value() == "jadu"
    assert page.locator("tr.current").count() == 0
    page.locator("#reset").click()
    page.locator("#help").click()
    page.locator("#shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.locator("tr.current").count() == 0


def test_a_filtered_view_is_saved_in_its_order(page):
    page.locator("#low").fill("1.0")
    page.locator("[data-sort=severity]").click()
    found = table(saved(page, "rows-csv"))
    assert [row["file"] for row in found] == CASES[2::-1]
    first = tuple(found[-1][name] for name in ("severity", "severity_low", "grade", "p_severe"))
    assert first == ("1.2", "1.15", "severe", "0.5")
    document = json.loads(saved(page, "rows-json"))
    assert document["intended_use"] == "Research use only. Not for diagnostic use."
    assert (document["bundle"], document["reference"], document["page"]) == ("tiny", "healthy.png", 1)
    assert [row["file"] for row in document["rows"]] == CASES[2::-1]
    assert "references" not in document


def test_reviews_are_saved_and_taken_up_again(show, path, tmp_path):
    page = show(path)
    open_row(page, "case_3.png")
    page.locator("[data-verdict=disagree]").click()
    open_row(page, "torn.png")
    page.locator("[data-verdict=ungradable]").click()
    page.locator("#reviewer").fill("=AB")
    text = saved(page, "review-json")
    document = json.loads(text)
    found = [(review["file"], review["rank"], review["review"], review["reviewer"]) for review in document["reviews"]]
    assert found == [("torn.png", None, "ungradable", "=AB"), ("case_3.png", 3, "disagree", "=AB")]
    assert document["intended_use"].startswith("Research use only")
    lines = table(saved(page, "review-csv"))
    assert [line["reviewer"] for line in lines] == ["'=AB", "'=AB"]
    assert lines[0]["reviewed_at"].endswith("Z")

    document["reviews"].append({"file": "elsewhere.png", "review": "agree"})
    document["reviews"].append({"file": "case_1.png", "review": "<b>bold</b>"})
    file = tmp_path / "review.json"
    file.write_text(json.dumps(document))
    again = show(path)
    assert again.locator("tr[data-i] td.review:not(:empty)").count() == 0
    again.locator("#review-file").set_input_files(file)
    again.wait_for_function("() => document.getElementById('shown').textContent.includes('taken')")
    assert again.locator("#shown").inner_text().startswith("2 of 4 reviews")
    assert again.locator("tr[data-i] td.review:not(:empty)").all_text_contents() == ["ungradable", "disagree"]
    found = json.loads(saved(again, "review-json"))["reviews"]
    assert found[0]["reviewed_at"] == document["reviews"][0]["reviewed_at"]


def test_a_review_of_two_images_of_one_name_finds_its_own(show, write, ranked_row, tmp_path):
    rows = tuple(ranked_row(rank=rank, file="same.png", severity=1 / rank) for rank in (1, 2, 3))
    file = tmp_path / "review.json"
    review = {"file": "same.png", "rank": 2, "review": "agree"}
    file.write_text(json.dumps({"reviews": [review, review | {"rank": 9, "review": "disagree"}]}))
    page = show(write(Ranking(rows=rows, reference="bundle", backend="toy:cpu"))[0])
    page.locator("#review-file").set_input_files(file)
    page.wait_for_function("() => document.getElementById('shown').textContent.includes('taken')")
    assert page.locator("tr[data-i] td.review").all_text_contents() == ["disagree", "agree", ""]


def test_a_file_that_is_no_review_changes_nothing(page, tmp_path):
    for text in ("no json", "[1]", '{"reviews": 3}', "null", '{"reviews": [null, 4, {"file": null}]}'):
        file = tmp_path / "review.json"
        file.write_text(text)
        page.locator("#shown").evaluate("shown => shown.textContent = ''")
        page.locator("#review-file").set_input_files(file)
        page.wait_for_function("() => document.getElementById('shown').textContent.includes('review')")
        assert page.locator("td.review:not(:empty)").count() == 0


@pytest.mark.parametrize(("save", "asked"), [("review-csv", 0), ("rows-csv", 1)])
def test_closing_a_page_with_unsaved_reviews_asks_first(browser, path, save, asked):
    questions = []
    with open_page(browser, path) as page:
        page.on("dialog", lambda dialog: (questions.append(dialog.type), dialog.accept()))
        open_row(page, "case_1.png")
        page.keyboard.press("a")
        saved(page, save)
        page.goto("about:blank")
    assert len(questions) == asked


def test_hostile_names_stay_text_on_the_page_and_in_its_files(show, write, hostile_ranking, hostile):
    page = show(write(hostile_ranking, bundle=hostile[0])[0])
    title = page.title()
    names = [utf8_text(name) for name in hostile]
    for shown in page.locator("tbody.ranked .open").all():
        shown.click()
        assert page.locator("#p-file").inner_text() == shown.inner_text()
        assert not set("\u202e\n\t") & set(shown.inner_text())
        page.keyboard.press("a")
    assert [restored(line["file"]) for line in table(saved(page, "review-csv"))] == names
    assert [row["file"] for row in json.loads(saved(page, "rows-json"))["rows"]] == names * 2
    assert page.title() == title
    assert page.locator("#list img[src=x], #panel script").count() == 0


def test_cells_of_the_page_are_those_of_the_command_line(show, write, hostile_ranking, hostile):
    """The page's CSV and the command's agree on every hostile name and reason, to the letter."""
    stream = io.StringIO(newline="")
    write_ranking(replace(hostile_ranking, rows=page_order(hostile_ranking.rows)), stream, layout="csv", bundle="tiny")
    expected = table(stream.getvalue())
    found = table(saved(show(write(hostile_ranking)[0]), "rows-csv"))
    for name in ("file", "reason"):
        assert [row[name] for row in found] == [row[name] for row in expected]
    assert sum(row["file"] != restored(row["file"]) for row in found) == 2 * sum(neutralised(n) != n for n in hostile)
    assert sum(neutralised(name) != name for name in hostile) == 7


def test_the_policy_stops_what_would_run_or_ask(browser, path):
    context = browser.new_context()
    page = context.new_page()
    violated = []
    page.on("console", lambda message: violated.append(message.text))
    page.goto(path.as_uri())
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'owned'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", "<img src='https://example.org/x.png'>");
    }""")
    page.wait_for_function("() => true")
    assert page.title() != "owned"
    page.wait_for_timeout(100)
    assert sum("Content Security Policy" in text for text in violated) == 2
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(browser, path, scheme):
    """No finding of axe-core of any weight, in either colours, with everything open."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    with open_page(browser, path, color_scheme=scheme, bypass_csp=True) as page:
        open_row(page, "case_1.png")
        page.keyboard.press("a")
        for opened in ("panel", "menu", "keys"):
            if opened == "menu":
                page.locator(".menu summary").click()
            if opened == "keys":
                page.locator("#help").click()
            found = axe.Axe().run(page).response["violations"]
            assert [(one["impact"], one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_colours_follow_the_system_until_somebody_chooses(browser, path):
    with open_page(browser, path, color_scheme="dark") as page:
        assert page.locator("html").get_attribute("data-theme") == "dark"
        page.locator("#theme").click()
        assert page.locator("html").get_attribute("data-theme") == "light"
        page.locator("#theme").click()
        page.emulate_media(color_scheme="light")
        assert page.locator("html").get_attribute("data-theme") == "dark"


def test_print_shows_the_rows_and_the_notice_without_the_controls(browser, path):
    with open_page(browser, path) as page:
        page.locator("#status").select_option("human")
        open_row(page, "torn.png")
        page.emulate_media(media="print")
        for hidden in (".toolbar", "#panel", "#theme"):
            assert not page.locator(hidden).is_visible()
        assert page.locator(".banner").is_visible()
        assert page.locator("thead .paper").inner_text().startswith("Research use only. Not for diagnostic use.")
        assert files(page) == ["blurred.png", "torn.png", "no_reason"]
        assert page.pdf().startswith(b"%PDF")


def test_a_page_without_rows_says_so(show, write):
    empty = Ranking(rows=(), reference="bundle", backend="toy:cpu")
    page = show(write(empty)[0])
    assert page.locator("#nothing").inner_text() == "No images: this worklist is empty."
    page.keyboard.press("j")
    page.locator("#text").fill("x")
    assert page.locator("#nothing").is_visible()


def test_without_javascript_the_list_is_complete(browser, path):
    with open_page(browser, path, java_script_enabled=False) as page:
        assert len(files(page)) == 15
        assert "Without JavaScript" in page.locator("#list").inner_text()


def test_links_lead_from_page_to_page(show, write, small_ranking):
    page = show(write(small_ranking, rows_per_page=10)[0])
    page.get_by_role("link", name="2").click()
    assert files(page) == CASES[7:]
    page.get_by_role("link", name="1").click()
    assert len(files(page)) == 10


def test_of_two_thousand_rows_those_out_of_sight_are_not_laid_out(show, write, ranked_row, illustrate):
    rows = [ranked_row(rank=place, file=f"{place}.png", severity=2 - place / 1001) for place in range(1, 2001)]
    ranking = Ranking(rows=tuple(rows), reference="bundle", backend="toy:cpu")
    pictures = next(iter(illustrate(rows[:1])))
    page = show(write(ranking, illustrate=lambda rows: [pictures] * len(rows))[0])
    page.locator("[data-sort=severity]").click()
    page.locator("#text").fill("77")
    assert files(page)[0] == "1977.png"
    laid_out = page.evaluate("""() => [...document.querySelectorAll("tr[data-i]:not([hidden])")]
        .filter((row) => row.querySelector(".open").checkVisibility({ contentVisibilityAuto: true })).length""")
    assert 5 < laid_out < len(files(page))
