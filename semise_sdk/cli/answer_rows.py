"""The answers of a command as rows, with what is drawn of each image on the way."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semise_sdk.cli.batch import Batch
from semise_sdk.cli.run_options import RunOptions
from semise_sdk.errors import ImageReadError
from semise_sdk.images.record import FoundImage
from semise_sdk.reports.drawings import DrawingFolder
from semise_sdk.reports.overlay import MAP_TOP, mask_overlay, severity_overlay
from semise_sdk.reports.worklist import Places
from semise_sdk.results import Severity
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.tables.write import Row, answer_row

MAP_DESCRIPTION = f"Severity map, 0 to {MAP_TOP:g}: an aid to explanation, not a localisation."


def severities(
    batch: Batch, bank: ReferenceBank, options: RunOptions, *, maps: Path | None, places: Places | None
) -> Iterator[Severity]:
    """Returns the severities of the batch, named as ``options`` say.

    Args:
        batch: The images and the predictor.
        bank: What severity is measured from.
        options: How the results name their images.
        maps: Folder for a severity map of each image; None for none.
        places: What is told where each image lies; None for nothing.
    """
    if maps is not None:
        answers = _mapped(batch, bank, maps, options)
    else:
        predictor = batch.predictor
        measured = batch.answers("ranking", lambda found: predictor.iter_severity(found, reference=bank))
        answers = options.named(measured)
    return (answer for _, answer in (answers if places is None else places.noted(answers)))


def _mapped(
    batch: Batch, bank: ReferenceBank, maps: Path, options: RunOptions
) -> Iterator[tuple[FoundImage, Severity]]:
    folder, predictor = _drawings(maps, batch, options), batch.predictor
    answers = batch.answers("ranking", lambda found: predictor.iter_analyze(found, reference=bank, masks=False))
    for found, answer in options.named(answers):
        _draw_map(folder, batch, found, answer.severity_map)
        yield found, answer.to_severity()


def segmentation_rows(batch: Batch, options: RunOptions, masks: Path, overlays: Path | None) -> Iterator[Row]:
    """Yields the rows of ``segment``; each mask is in ``masks``, and drawn over its image in ``overlays`` if given."""
    mask_folder = _drawings(masks, batch, options)
    overlay_folder = _drawings(overlays, batch, options) if overlays is not None else None
    for found, answer in options.named(batch.answers("segmenting", batch.predictor.iter_segment)):
        path = None if answer.mask is None else mask_folder.write(found, answer.mask)
        if answer.mask is not None and overlay_folder is not None:
            _draw_mask(overlay_folder, batch, found, answer.mask)
        yield answer_row(answer, mask=path)


def analysis_rows(
    batch: Batch, bank: ReferenceBank, options: RunOptions, *, masks: Path | None, maps: Path | None
) -> Iterator[Row]:
    """Yields the rows of ``analyze``; masks and severity maps are in the folders that are given."""
    predictor = batch.predictor
    mask_folder = _drawings(masks, batch, options) if masks is not None else None
    map_folder = _drawings(maps, batch, options) if maps is not None else None
    answers = batch.answers(
        "analyzing", lambda found: predictor.iter_analyze(found, reference=bank, maps=maps is not None)
    )
    for found, answer in options.named(answers):
        mask = mask_folder.write(found, answer.mask) if mask_folder and answer.mask is not None else None
        severity_map = _draw_map(map_folder, batch, found, answer.severity_map) if map_folder else None
        yield answer_row(answer, predictor.model.labels, mask=mask, map=severity_map)


def _drawings(folder: Path, batch: Batch, options: RunOptions) -> DrawingFolder:
    return DrawingFolder(folder, batch.images, is_new=options.results.phi == "drop")


def _draw_map(
    folder: DrawingFolder, batch: Batch, found: FoundImage, severity_map: NDArray[np.float32] | None
) -> Path | None:
    pixels = None if severity_map is None else _display(batch, found)
    if pixels is None or severity_map is None:
        return None
    return folder.write(found, severity_overlay(pixels, severity_map), description=MAP_DESCRIPTION)


def _draw_mask(folder: DrawingFolder, batch: Batch, found: FoundImage, mask: NDArray[np.uint8]) -> None:
    pixels = _display(batch, found)
    if pixels is not None:
        folder.write(found, mask_overlay(pixels, mask), description="Lesion mask.")


def _display(batch: Batch, found: FoundImage) -> NDArray[np.uint8] | None:
    try:
        return batch.predictor.display(found)
    except ImageReadError:  # it was there a moment ago; its row stands
        return None
