"""What every reader must bear."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from semise_sdk.errors import ImageReadError
from semise_sdk.images.readers import read_image


@pytest.fixture(scope="session")
def assert_sixteen_threads_read_what_one_reads() -> Callable[[Sequence[bytes]], None]:
    """Returns a check that 16 threads get from each source, over and over, what one thread gets."""

    def outcome(data: bytes) -> tuple[str, bytes]:
        try:
            record = read_image(data)
        except ImageReadError as error:
            return error.reason, b""
        return record.format, record.pixels.tobytes()

    def check(sources: Sequence[bytes]) -> None:
        serial = [outcome(data) for data in sources]
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(outcome, list(sources) * 20)) == serial * 20

    return check
