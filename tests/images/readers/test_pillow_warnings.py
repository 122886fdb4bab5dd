"""Pillow's warnings stay away from the user of the readers, and reach the host's own use of Pillow."""

import logging
import pickle
import re
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image, TiffImagePlugin

from semise_sdk.images.readers import pillow_warnings, quiet, read_image


def with_damaged_exif() -> bytes:
    """Returns a JPEG whose EXIF block names a tag that lies outside the file, of which Pillow warns."""
    exif = b"Exif\0\0" + b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x0e\x01\x02\0\xff\0\0\0\xff\xff\0\0" + bytes(4)
    stream = BytesIO()
    Image.new("L", (9, 7), 77).save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def test_the_host_still_gets_pillows_warnings() -> None:
    with pytest.warns(UserWarning, match="Tag|Truncated") as caught, Image.open(BytesIO(with_damaged_exif())):
        pass
    assert caught[0].filename == TiffImagePlugin.__file__


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


def test_no_module_of_pillow_is_changed() -> None:
    read_image(with_damaged_exif())
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "PIL"]
    held = [vars(module)["warnings"] for module in modules if "warnings" in vars(module)]
    assert TiffImagePlugin.warnings is warnings
    assert len(held) > 3
    assert all(found is warnings for found in held)


def test_the_hosts_filters_stay_as_and_where_they_are_whatever_it_puts_before_ours() -> None:
    for _ in range(3):
        warnings.filterwarnings("error", "damaged")
        before = [entry for entry in warnings.filters if entry is not quiet._FILTER]
        read_image(with_damaged_exif())
        read_image(with_damaged_exif())
        assert list(warnings.filters) == [quiet._FILTER, *before]


def test_libraries_that_copy_the_hosts_filters_to_their_workers_still_can() -> None:
    from sklearn.utils.parallel import Parallel, delayed

    read_image(with_damaged_exif())
    message = next(entry[1] for entry in warnings.filters if entry[1] is not None and not isinstance(entry[1], str))
    assert re.compile(message.pattern).match("anything") is None
    assert pickle.loads(pickle.dumps(message)).pattern == message.pattern  # noqa: S301  # our own
    assert Parallel(n_jobs=2, backend="threading")(delayed(abs)(number) for number in (-1, 2)) == [1, 2]


def test_a_host_that_forgets_all_filters_is_not_told_either() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.resetwarnings()
        read_image(with_damaged_exif())
    assert not seen


def test_what_the_host_has_shown_once_is_not_shown_again() -> None:
    def warn() -> None:
        warnings.warn("of the host", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        read_image(with_damaged_exif())
        for _ in range(3):
            warn()
            read_image(with_damaged_exif())
    assert [str(warning.message) for warning in seen] == ["of the host"]


def test_the_hosts_warnings_keep_their_filters_while_other_threads_read() -> None:
    data, stop = with_damaged_exif(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            read_image(data)

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            for _ in range(300):
                with pytest.raises(UserWarning, match="of the host"):
                    warnings.warn("of the host", UserWarning, stacklevel=1)
        finally:
            stop.set()
        for reader in readers:
            reader.result()


def test_blocks_nest() -> None:
    with pillow_warnings.quiet_pillow():
        with pillow_warnings.quiet_pillow():
            pass
        warnings.warn("held back", UserWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="let through"):
        warnings.warn("let through", UserWarning, stacklevel=1)


def test_what_plugins_log_as_an_error_is_held_back_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    plugin = logging.getLogger("PIL.TiffImagePlugin")
    with pillow_warnings.quiet_pillow():
        plugin.error("More samples per pixel than can be decoded: %s", 99)
    assert not caplog.records
    plugin.error("outside")
    assert [record.getMessage() for record in caplog.records] == ["outside"]
