"""Draws the pictures of a worklist's rows as a stream: few images are in memory at once, and details fit a budget."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from semise_sdk.errors import ImageReadError
from semise_sdk.images.record import FoundImage, NamedImage
from semise_sdk.inference.pipeline import Pool, in_order
from semise_sdk.predictor import Predictor
from semise_sdk.reports.worklist.pictures import NO_PICTURES, RowPictures, draw
from semise_sdk.results import Analysis, RankedImage, Severity
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.system.machine import usable_cores

DETAIL_BYTES = 40_000_000
"""What the detail pictures of one page may weigh: 2,000 small ultrasound images (18.6 kB each), some 800 photographs. A
browser opens such a page in about a second."""

_CHUNK = 128
"""Rows analyzed before the budget is looked at again: so many analyses are lost at most."""

_logger = logging.getLogger(__name__)

Display = Callable[[Path], NDArray[np.uint8]]


class Places:
    """Where the image of each row lies; two images may share a name, when they come from two folders."""

    def __init__(self) -> None:
        self._paths: defaultdict[tuple[str, str, str, float | None], list[Path | None]] = defaultdict(list)

    @classmethod
    def of(cls, answers: Iterable[tuple[FoundImage | None, Severity]]) -> Self:
        """Returns where the images of all ``answers`` lie."""
        places = cls()
        for found, answer in answers:
            places.note(found, answer)
        return places

    def note(self, found: FoundImage | None, answer: Severity) -> None:
        """Remembers where the image of an answer lies; None for one that is there no more."""
        self._paths[_key(answer)].append(None if found is None else found.source)

    def noted(self, answers: Iterable[tuple[FoundImage, Severity]]) -> Iterator[tuple[FoundImage, Severity]]:
        """Yields every answer once it is noted."""
        for found, answer in answers:
            self.note(found, answer)
            yield found, answer

    def __call__(self, row: RankedImage) -> Path | None:
        """Returns where a row's image lies, None for one that is there no more or that nobody noted.

        Asked again for a row that says the same, it goes round those noted.
        """
        paths = self._paths.get(_key(row))
        if not paths:
            return None
        paths.append(paths.pop(0))
        return paths[-1]


def _key(row: Severity | RankedImage) -> tuple[str, str, str, float | None]:
    """Returns what tells a row from others of its name; rows without a severity differ by what became of them."""
    return row.file, row.status, row.reason, row.severity


class Illustrator:
    """Draws the rows of one page at a time: images are read and analyzed again, in the order of the page.

    That costs about what the ranking did; in return the ranking needs to keep nothing of any image, and may come
    from anywhere. Rows beyond the budget get their thumbnail only.

    Args:
        predictor: The model.
        place: Where a row's image lies; None for one that is gone.
        bank: What severity maps are measured from.
        budget: Most bytes of base64 for the detail pictures of one page; 0 for thumbnails only.
        display: How a file is shown; None for the predictor's own way, ``display``.
    """

    def __init__(
        self,
        predictor: Predictor,
        place: Callable[[RankedImage], Path | None],
        *,
        bank: ReferenceBank,
        budget: int = DETAIL_BYTES,
        display: Display | None = None,
    ) -> None:
        self._predictor = predictor
        self._place = place
        self._bank = bank
        self._budget = budget
        self._display = display or predictor.display

    def __call__(self, rows: Sequence[RankedImage]) -> Iterator[RowPictures]:
        """Yields the pictures of each row of a page, in order; none of one that cannot be read."""
        left = self._budget
        pool = Pool(usable_cores(), "semise-worklist")
        try:
            for chunk in _chunks(rows):
                for pictures in self._drawn(pool, chunk, with_details=left > 0):
                    left -= pictures.detail_bytes
                    yield pictures if left >= 0 else _thumbnail_of(pictures)
        finally:
            pool.close()

    def _drawn(self, pool: Pool, rows: Sequence[RankedImage], *, with_details: bool) -> Iterator[RowPictures]:
        found = [self._found(row) for row in rows]
        readable = [image for image in found if image is not None]
        analyses = self._predictor.iter_analyze(readable if with_details else (), reference=self._bank)
        with closing(analyses):
            jobs = ((image, next(analyses) if with_details and image else None) for image in found)
            drawn = in_order(pool, self._draw, jobs, ahead=pool.threads + 1)
            with closing(drawn):
                yield from drawn

    def _found(self, row: RankedImage) -> FoundImage | None:
        path = None if row.status == "error" else self._place(row)
        return None if path is None else NamedImage(row.file, path)

    def _draw(self, job: tuple[FoundImage | None, Analysis | None]) -> RowPictures:
        image, analysis = job
        if image is None:
            return NO_PICTURES
        try:
            return draw(self._display(image.source), analysis)
        except ImageReadError as error:  # it was there a moment ago; its row stands
            _logger.warning("no picture in the worklist: %s", error.code)  # the sentence would name the image
        except (MemoryError, ValueError) as error:  # too large to draw, or replaced by one of another size meanwhile
            _logger.warning("no picture in the worklist: %s while drawing", type(error).__name__)
        return NO_PICTURES


def _thumbnail_of(pictures: RowPictures) -> RowPictures:
    return RowPictures(thumbnail=pictures.thumbnail)


def _chunks(rows: Sequence[RankedImage]) -> Iterator[Sequence[RankedImage]]:
    return (rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK))
