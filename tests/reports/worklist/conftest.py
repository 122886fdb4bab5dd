"""Rankings and pages for the tests of the worklist."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from semise_sdk.reports.worklist import RowPictures, write_worklist
from semise_sdk.reports.worklist.pictures import draw
from semise_sdk.results import Analysis, RankedImage, Ranking

LABELS = ("healthy", "mild", "severe")
HOSTILE = (
    "<script>document.title='owned'</script>.png",
    "\"onmouseover='document.title=1' x=\".png",
    "scan\u202egnp.exe",
    "two\nlines\t.png",
    "=cmd|' /C calc'!A0.png",
    "</script><img src=x onerror=document.title=2>.png",
    "{{ 7 * 7 }}{% raw %}.png",
    "bytes\udcff.png",
    '@שלום,"quoted".png',
    "'=1.png",
    "\ttab;=1.png",
    "=\n'=2.png",
    "\uff1dfull.png",
    "-1+1.png",
)


@pytest.fixture(scope="session")
def ranked_row():
    """Returns one row of a ranking, with changes."""

    def build(**changes) -> RankedImage:
        fields = {"rank": 1, "file": "a.png", "severity": 0.5, "grade": "mild", "status": "ok", "reason": ""}
        return RankedImage(**(fields | changes))

    return build


@pytest.fixture(scope="session")
def failed_row(ranked_row):
    """Returns a row that needs a human."""

    def build(file: str, status: str, reason: str) -> RankedImage:
        return ranked_row(rank=None, file=file, severity=None, grade=None, status=status, reason=reason)

    return build


@pytest.fixture(scope="session")
def small_ranking(ranked_row, failed_row) -> Ranking:
    """Twelve ranked rows, one of them to review, one abstained from and two unreadable."""
    rows = [
        ranked_row(
            rank=place + 1,
            file=f"case_{place + 1}.png",
            severity=1.2 - place / 10,
            severity_low=1.15 - place / 10,
            severity_high=1.25 - place / 10,
            grade=LABELS[2 - place // 4],
            grade_set=LABELS[1:] if place == 3 else (LABELS[2 - place // 4],),
            probabilities=(0.2, 0.3, 0.5),
            percentile=100.0 - place,
            tie=5 if place == 5 else place + 1,
        )
        for place in range(12)
    ]
    rows[3] = ranked_row(
        rank=4,
        file="case_4.png",
        severity=0.9,
        grade="severe",
        status="review",
        grade_set=LABELS,
        tie=4,
        reason="wide_set: expected at most 2 grades, found 3: look at the image",
    )
    rows += [
        failed_row("torn.png", "error", "truncated: 'torn.png': expected more data, found its end; copy it again"),
        failed_row("blurred.png", "abstain", "quality_blur: expected a sharp image, found 3.1: take it again"),
        failed_row("no_reason", "error", ""),
    ]
    return Ranking(rows=tuple(rows), reference="healthy.png", backend="onnxruntime:CPUExecutionProvider")


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """File names that try to be markup, script, a formula, a template or another name."""
    return HOSTILE


@pytest.fixture(scope="session")
def hostile_ranking(ranked_row, failed_row) -> Ranking:
    """Every hostile name twice: ranked, and as a file that could not be read."""
    rows = [ranked_row(rank=place, file=name) for place, name in enumerate(HOSTILE, 1)]
    rows += [failed_row(name, "error", f"truncated: {name}: expected {name}") for name in HOSTILE]
    return Ranking(rows=tuple(rows), reference=HOSTILE[1], backend="toy:cpu")


@pytest.fixture(scope="session")
def illustrate():
    """Returns what gives every scored row of a page pictures of its own grey."""

    def pictures(rows: Sequence[RankedImage]) -> Iterator[RowPictures]:
        for place, row in enumerate(rows):
            if row.status == "error":
                yield RowPictures()
                continue
            pixels = np.full((60, 80, 3), 10 * place % 256, np.uint8)
            mask = np.zeros((60, 80), np.uint8)
            mask[20:40, 20:60] = 255
            places = np.linspace(0, 1, 4800, dtype=np.float32).reshape(60, 80)
            yield draw(pixels, Analysis(file=row.file, mask=mask, severity_map=places, area_fraction=1 / 6))

    return pictures


@pytest.fixture(scope="session")
def write(tmp_path_factory, illustrate):
    """Returns what writes a ranking as pages in a folder of its own, and their paths."""

    def pages(ranking: Ranking, **options) -> tuple[Path, ...]:
        settings = {
            "bundle": "tiny",
            "labels": LABELS,
            "illustrate": illustrate,
            "created": datetime(2026, 11, 24, tzinfo=UTC),
        }
        return write_worklist(tmp_path_factory.mktemp("pages") / "worklist.html", ranking, **(settings | options))

    return pages
