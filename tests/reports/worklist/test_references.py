import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from semise_sdk.errors import BundleError
from semise_sdk.images.preprocess import display_pixels
from semise_sdk.images.readers import read_image
from semise_sdk.reports.worklist import bundle_thumbnails, image_thumbnails
from semise_sdk.reports.worklist import references as module
from semise_sdk.spec import InputSpec


def png(width: int = 30, height: int = 20, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, height), 90).save(stream, form)
    return stream.getvalue()


def test_a_bundles_pictures_keep_their_place_in_the_bank():
    found = bundle_thumbnails({0: png(), 3: png(96, 96)})
    assert [Image.open(io.BytesIO(webp)).size if webp else None for webp in found] == [(30, 20), None, None, (96, 96)]
    assert bundle_thumbnails({}) == ()


def claimed_png(side: int) -> bytes:
    """Returns a PNG whose header speaks of far more pixels than follow."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return png()[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + png()[33:]


@pytest.mark.parametrize("content", [png(97, 10), png(form="BMP"), png()[:40], b"", b"no picture", claimed_png(60_000)])
def test_what_is_no_thumbnail_is_refused(content):
    with pytest.raises(BundleError, match="expected reference picture"):
        bundle_thumbnails({2: content})


def test_references_that_were_given_are_shown_in_their_order(tmp_path, monkeypatch):
    def display(path):
        return display_pixels(read_image(path), InputSpec(height=32, width=32))

    paths = [tmp_path / name for name in ("dark.png", "gone.png", "bright.png")]
    for path, grey in ((paths[0], 20), (paths[2], 200)):
        Image.fromarray(np.full((40, 60), grey, np.uint8)).save(path)
    found = image_thumbnails(paths, display)
    shown = [Image.open(io.BytesIO(webp)).convert("L").getpixel((5, 5)) if webp else None for webp in found]
    assert shown == [pytest.approx(20, abs=2), None, pytest.approx(200, abs=2)]
    monkeypatch.setattr(module, "MAX_REFERENCES", 2)
    assert image_thumbnails(paths, display) == ()
