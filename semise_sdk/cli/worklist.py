"""``semise rank --report``: the ranking as worklist pages."""

from pathlib import Path

from semise_sdk.cli.batch import Batch
from semise_sdk.cli.console import say, tracked
from semise_sdk.errors import ConfigError
from semise_sdk.images.readers import find_images
from semise_sdk.predictor import Predictor
from semise_sdk.reports.html_page import require_jinja
from semise_sdk.reports.worklist import (
    Illustrator,
    Places,
    bundle_thumbnails,
    image_thumbnails,
    page_paths,
    write_worklist,
)
from semise_sdk.results import Ranking
from semise_sdk.severity.reference_bank import ReferenceBank


def check_report(report: Path | None, out: Path | None) -> None:
    """Finds what is wrong with ``--report`` before hours of ranking; raises ConfigError."""
    if report is None:
        return
    require_jinja()
    page_paths(report, 1)
    if report.is_dir() or (out is not None and report.resolve() == out.resolve()):
        raise ConfigError(f"expected --report to be a file of its own, found {report}: name another")


def write_report(
    batch: Batch, ranking: Ranking, places: Places, *, bank: ReferenceBank, reference: Path | None, path: Path
) -> None:
    """Writes the worklist of a ranking and says where.

    Args:
        batch: The images and the predictor.
        ranking: The ranking.
        places: Where its images lie.
        bank: What it was measured from.
        reference: The same, as it was given.
        path: The first page.

    Raises:
        OutputError: a page could not be written.
        BundleError: the bundle's pictures of its references are damaged.
    """
    predictor = batch.predictor
    labels = predictor.model.labels if predictor.model.has_classifier else ()
    illustrator = Illustrator(predictor, places, bank=bank)
    pages = write_worklist(
        path,
        ranking,
        bundle=predictor.name,
        labels=labels,
        grade_sets=batch.grade_sets,
        illustrate=lambda rows: tracked(illustrator(rows), total=len(rows), label="drawing", quiet=batch.is_quiet),
        references=_thumbnails(predictor, reference),
    )
    megabytes = sum(page.stat().st_size for page in pages) / 1e6
    count = f"{len(pages)} page{'s' if len(pages) > 1 else ''}"
    say(f"worklist: {path}, {count} of {megabytes:.1f} MB in all", quiet=batch.is_quiet)


def _thumbnails(predictor: Predictor, reference: Path | None) -> tuple[bytes, ...]:
    if reference is None:
        return bundle_thumbnails(predictor.reference_pictures())
    return image_thumbnails([found.source for found in find_images(reference)], predictor.display)
