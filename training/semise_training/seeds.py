"""Seeds that depend only on the run's seed and on the place of their use, so that a resumed run repeats them."""

import zlib

import numpy as np


def derived_seed(seed: int, *place: str | int) -> int:
    """Returns a 63-bit seed for ``place``, such as ``("phase1", epoch, step)``."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in place]
    return int(np.random.SeedSequence([seed & 0xFFFFFFFF, *words]).generate_state(1, np.uint64)[0] >> 1)
