"""What a process that reads images may use."""

from dataclasses import dataclass

_LEAST_MEMORY = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLimits:
    """What a process that reads images may use before its image is given up.

    The number of pixels is limited before any of them is decoded, whether files are isolated or not (see
    :func:`semise_sdk.images.readers.read_image`).

    Args:
        memory_bytes: Address space of a process (RLIMIT_AS), at least 256 MiB: enough for an image of a hundred
            million pixels by default. Linux enforces it; Windows has no such limit, and macOS ignores it.
        seconds: Wall-clock time for one image, from its first byte to its canvas.
        images: Images that a process reads before a fresh one takes its place, so that what a decoder leaks goes.

    Raises:
        ValueError: a limit is out of its range.
    """

    memory_bytes: int = 3 << 30
    seconds: float = 30.0
    images: int = 1000

    def __post_init__(self) -> None:
        if self.memory_bytes < _LEAST_MEMORY or not 0 < self.seconds < float("inf") or self.images < 1:
            raise ValueError(
                f"expected memory_bytes of at least {_LEAST_MEMORY:,}, seconds above 0 and images of at least 1, found "
                f"{self.memory_bytes:,}, {self.seconds} and {self.images}"
            )
