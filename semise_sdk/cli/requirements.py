"""What a command needs beyond the runtime."""

from collections.abc import Iterator
from contextlib import contextmanager

from semise_sdk.errors import ConfigError


@contextmanager
def training_installed(command: str) -> Iterator[None]:
    """Turns a missing package of the training, imported in the block, into a ConfigError with the pip command."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{command} needs the package {error.name}, which is not installed: pip install 'semise-sdk[train]'"
        ) from error
