"""The page of a timeline: self-contained, escaped, strict, and its marks say what the rows say."""

import base64
import datetime as dt
import hashlib
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from semise_sdk.errors import ConfigError, OutputError
from semise_sdk.reports.timeline.chart import HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart_of, highest_severity
from semise_sdk.reports.timeline.page import page_of, write_page
from semise_sdk.results import INTENDED_USE, Severity
from semise_sdk.severity.resamples import RESAMPLES
from semise_sdk.timeline import Timeline, Visit, timeline_rows

STILL = np.zeros(RESAMPLES, np.float16)
HOSTILE = "<script>alert(1)</script><img src=http://x.example/a onerror=x>\u202e\"'"


def timeline(*visits):
    """A timeline of ``(patient, day of January 2026, site, severity)``; no severity is an error."""
    given = [
        Visit(image=f"{index}.png", patient=patient, site=site, date=day and dt.date(2026, 1, day))
        for index, (patient, day, site, _) in enumerate(visits)
    ]
    answers = [
        Severity(file="", status="error", reason="damaged: it is")
        if severity is None
        else Severity(
            file="", severity=severity, severity_low=severity - 0.05, severity_high=severity + 0.05, resampled=STILL
        )
        for _, day, _, severity in visits
        if day
    ]
    return Timeline(rows=timeline_rows(given, lambda images: answers), reference="bundle", backend="x:CPU")


COURSE = timeline(("Ann", 1, "", 0.5), ("Ann", 11, "", 0.9), ("Ann", 21, "", 0.1), ("Bob", 5, "left", 0.4))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_asks_nothing_of_the_network_and_runs_nothing():
    text = page_of(COURSE, bundle="toy")
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & {tag for tag, _ in page.tags}
    assert not any(
        name in ("src", "href", "style") or name.startswith("on") for _, names in page.tags for name in names
    )
    policy = next(found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style
    assert "@import" not in style


def test_it_says_what_it_is_for_and_where_it_comes_from():
    text = "".join(Page(page_of(COURSE, bundle="toy")).text)
    for expected in (INTENDED_USE, "Model toy on x:CPU in fp32", "2 patients, 4 images", "Ann", "Bob", "(bundle)"):
        assert expected in text


def test_hostile_names_stay_text():
    found = timeline((HOSTILE, 1, HOSTILE, 0.5), (HOSTILE, 2, HOSTILE, 0.7))
    page = Page(page_of(found, bundle=HOSTILE))
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert HOSTILE in page.text  # whole, inside a <bdi>
    page_of(timeline(("\udcff", 1, "\udcff", 0.5)), bundle="toy").encode("utf-8")


def test_the_marks_are_those_of_the_changes():
    marks = [found["class"] for tag, found in Page(page_of(COURSE, bundle="toy")).tags if tag in ("path", "circle")]
    assert marks[5:] == ["mark first", "mark more", "mark less", "mark first"]  # the first five are the key's


def test_every_patient_has_a_chart_with_what_can_be_drawn():
    found = timeline(("Ann", 1, "", None), ("Bob", None, "", 0.5), ("Eve", 1, "", 0.5))
    text = page_of(found, bundle="toy")
    assert text.count('class="chart"') == 1
    assert text.count("No image of this patient has both a date and a severity.") == 2
    assert "2 not scored" in "".join(Page(text).text)
    assert "damaged: it is" in text
    assert "no_date: " in text


def test_points_lie_where_day_and_severity_are():
    chart = chart_of(COURSE.by_patient()["Ann"], highest=1.0)
    (line,) = chart.lines
    assert [point.x for point in line.points] == [LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT]
    lowest, highest = chart.severities[0][0], chart.severities[-1][0]
    assert highest == TOP < lowest < HEIGHT
    middle = line.points[0]
    assert middle.y == pytest.approx((lowest + highest) / 2)
    assert (middle.bottom - middle.y) == pytest.approx(0.05 * (lowest - highest), abs=0.02)
    assert [text for _, text in chart.days] == ["2026-01-01", "2026-01-21"]
    assert middle.title == "2026-01-01 severity 0.5000 (0.4500 to 0.5500)"
    assert line.points[1].title.endswith("more severe since the first")


def test_one_day_lies_in_the_middle_and_sites_have_lines_of_their_own():
    chart = chart_of(timeline(("p", 1, "left", 0.2), ("p", 1, "right", 0.3)).rows, highest=1.0)
    assert [line.site for line in chart.lines] == ["left", "right"]
    assert len({line.dashes for line in chart.lines}) == 2
    assert len(chart.days) == 1
    assert all(LEFT < point.x < WIDTH - RIGHT for line in chart.lines for point in line.points)


def test_another_image_of_the_day_is_beside_the_line():
    chart = chart_of(timeline(("p", 1, "", 0.2), ("p", 1, "", 0.3), ("p", 2, "", 0.4)).rows, highest=1.0)
    (line,) = chart.lines
    assert [point.mark for point in line.points] == ["beside", "first", "more"]
    assert len(line.joined) == 2


@pytest.mark.parametrize(("severity", "top"), [(0.0, 0.1), (0.24, 0.3), (0.25, 0.3), (0.26, 0.4), (1.95, 2.0)])
def test_the_axis_ends_at_the_next_tenth(severity, top):
    assert highest_severity(timeline(("p", 1, "", severity))) == pytest.approx(top)


def test_an_empty_axis_has_a_height():
    assert highest_severity(timeline(("p", 1, "", None))) == 0.1


def test_without_jinja2_the_pip_command_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigError, match=r"pip install 'semise-sdk\[report\]'"):
        page_of(COURSE, bundle="toy")


def test_a_page_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="could not write"):
        write_page(COURSE, tmp_path / "file" / "page.html", bundle="toy")


@pytest.mark.integration
@pytest.mark.filterwarnings("default::DeprecationWarning")
def test_a_browser_shows_it_without_a_complaint_or_a_request(browser, tmp_path):
    write_page(timeline((HOSTILE, 1, "left", 0.5), (HOSTILE, 2, "left", 0.7)), tmp_path / "page.html", bundle="toy")
    complaints, requests = [], []
    page = browser.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("h2").inner_text() == HOSTILE
    assert page.locator("svg.chart").bounding_box()["width"] > 300  # the style is the one that the policy allows
    fill = page.locator("path.mark.more").last.evaluate("mark => getComputedStyle(mark).fill")
    assert fill == "rgb(196, 52, 29)"
    assert complaints == []
    assert len(requests) == 1
