"""Pillow's warnings stay away from the user of the readers, and reach the host's own use of Pillow."""

import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image, TiffImagePlugin

from semise_sdk.images.readers import pillow_warnings, read_image


def with_damaged_exif() -> bytes:
    """Returns a JPEG whose EXIF block names a tag that lies outside the file, of which Pillow warns."""
    exif = b"Exif\0\0" + b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x0e\x01\x02\0\xff\0\0\0\xff\xff\0\0" + bytes(4)
    stream = BytesIO()
    Image.new("L", (9, 7), 77).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def test_the_host_still_gets_pillows_warnings() -> None:
    with pytest.warns(UserWarning, match="Tag|Truncated") as caught, Image.open(BytesIO(with_damaged_exif())):
        pass
    assert caught[0].filename == TiffImagePlugin.__file__  # the stand-in does not shift the reported line


def test_reading_is_quiet_whatever_the_hosts_filters_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger=pillow_warnings.__name__)
    for action in ("error", "always"):
        with warnings.catch_warnings(record=action == "always") as seen:
            warnings.simplefilter(action)
            assert read_image(with_damaged_exif()).pixels.shape == (7, 9)
        assert not seen
    assert any(record.getMessage().startswith("Pillow: T") for record in caplog.records)


def test_another_thread_is_not_silenced() -> None:
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with pillow_warnings.quiet_pillow():
            inside.set()
            done.wait(10)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        assert inside.wait(10)
        try:
            with pytest.warns(UserWarning, match="Tag|Truncated"), Image.open(BytesIO(with_damaged_exif())):
                pass
        finally:
            done.set()
        held.result()


def test_the_filters_are_never_touched() -> None:
    before = list(warnings.filters)
    read_image(with_damaged_exif())
    assert list(warnings.filters) == before


def test_blocks_nest_and_installing_twice_changes_nothing() -> None:
    installed = vars(TiffImagePlugin)["warnings"]
    pillow_warnings.install()
    assert vars(TiffImagePlugin)["warnings"] is installed
    with pillow_warnings.quiet_pillow():
        with pillow_warnings.quiet_pillow():
            pass
        installed.warn("held back")
    with pytest.warns(UserWarning, match="let through"):
        installed.warn("let through")
    assert installed.catch_warnings is warnings.catch_warnings


def test_what_plugins_log_as_an_error_is_held_back_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    plugin = logging.getLogger("PIL.TiffImagePlugin")
    with pillow_warnings.quiet_pillow():
        plugin.error("More samples per pixel than can be decoded: %s", 99)
    assert not caplog.records
    plugin.error("outside")
    assert [record.getMessage() for record in caplog.records] == ["outside"]
