"""The worklist: a ranking as self-contained HTML pages that a person works through in a browser."""

from semise_sdk.reports.worklist.illustrate import Illustrator, Places
from semise_sdk.reports.worklist.page import page_paths, write_worklist
from semise_sdk.reports.worklist.pictures import RowPictures
from semise_sdk.reports.worklist.references import bundle_thumbnails, image_thumbnails

__all__ = [
    "Illustrator",
    "Places",
    "RowPictures",
    "bundle_thumbnails",
    "image_thumbnails",
    "page_paths",
    "write_worklist",
]
