"""What a run was started with, in its run.json: what a later command must agree with to continue it."""

import dataclasses
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from semise_sdk.errors import LedgerError, OptionError
from semise_sdk.privacy import PHI
from semise_sdk.results import INTENDED_USE
from semise_sdk.system.json_fields import JsonSource

SCHEMA = 1
FORMAT = "semise-run"
SETTINGS = "run.json"

# Its values are the names of images, folders and grades: no error quotes them.
_SOURCE = JsonSource(f"the run folder's {SETTINGS}", LedgerError, "it is damaged, start anew", shows_values=False)
_PART = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Part:
    """One of ``count`` parts that share the images of a run: those whose name falls to it by its sha256.

    A file belongs to the same part whatever other files there are, so that parts may start at different times.

    Example:
        >>> Part.parse("2/4").holds("e.png")
        True
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the part that ``i/n`` names; raises OptionError for anything else."""
        match = _PART.fullmatch(text)
        if match is None or int(match[1]) > int(match[2]):
            raise OptionError("--part i/n with i of 1 to n, such as 1/4", repr(text))
        return cls(int(match[1]), int(match[2]))

    def holds(self, identity: str) -> bool:
        """Returns whether the file of that identity falls to this part."""
        if self.count == 1:
            return True
        digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What a run was started with.

    Args:
        command: ``rank`` or ``classify``.
        bundle: Name of the bundle.
        bundle_sha256: Of its manifest, which holds the sha256 of every other file.
        precision: What the graphs compute in.
        phi: ``keep``, ``hash`` or ``drop``.
        key: Fingerprint of the key of the pseudonyms.
        part: ``i/n``.
        reference: What severity was measured from, as the policy lets it be named; None for no severity.
        reference_sha256: Of what severity is measured from (see :func:`semise_sdk.ledger.inputs.sha256_of_reference`);
            None for no severity.
        labels: The grades that the model gives probabilities of, in order.
        sdk_version: Of the SDK that started the run.
        created: When, ISO 8601 in UTC.
        images: The arguments that named the images, absolute; none unless names are kept.
        decoding: How probabilities become a grade.
        grade_sets: How often the bundle's grade sets hold the true grade, in words; None where it has none.
    """

    command: str
    bundle: str
    bundle_sha256: str
    precision: str
    phi: str
    key: str
    part: str
    reference: str | None
    reference_sha256: str | None
    labels: tuple[str, ...]
    sdk_version: str
    created: str
    images: tuple[str, ...] = ()
    decoding: str = "argmax"
    grade_sets: str | None = None

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data that :meth:`from_json` reads back."""
        return {"schema": SCHEMA, "format": FORMAT, "intended_use": INTENDED_USE, **dataclasses.asdict(self)}

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Returns the settings of the run in ``folder``; raises LedgerError where there is none, or a damaged one."""
        try:
            text = (folder / SETTINGS).read_bytes()
        except FileNotFoundError as error:
            raise LedgerError(f"expected {SETTINGS} in the run folder, found none: name a folder of --run") from error
        except OSError as error:
            raise LedgerError(
                f"could not read {SETTINGS} of the run: {error.strerror}; check its permissions"
            ) from error
        data = _SOURCE.parse(text)
        data["format"].choice(FORMAT)
        data["schema"].choice(SCHEMA)
        data["phi"].choice(*PHI)
        data["part"].matching(_PART, "i/n")
        data["decoding"].text()  # as the images, never left out when a run is written
        data["images"].entries()
        return data.only(tuple(cls.__dataclass_fields__)).of(cls)

    def refuse_other(self, asked: "RunSettings") -> None:
        """Raises LedgerError unless a command that asks for ``asked`` may continue this run."""
        for name, what in _MUST_AGREE.items():
            started, now = getattr(self, name), getattr(asked, name)
            if started != now:
                values = (
                    f" ({_typed(started)}), found another ({_typed(now)})" if name in _SPEAKABLE else ", found another"
                )
                raise LedgerError(
                    f"expected the {what} that the run was started with{values}: give the same, or name another --run"
                )


_MUST_AGREE = {
    "command": "command",
    "bundle_sha256": "bundle",
    "reference_sha256": "reference",
    "precision": "precision",
    "phi": "--phi",
    "key": "--phi-key",
    "part": "--part",
    "decoding": "--decode",
}
# The hashes of the reference's images and of the secret key are not shown.
_SHA256 = re.compile("[0-9a-f]{64}")
_SPEAKABLE = ("command", "bundle_sha256", "precision", "phi", "part", "decoding")


def absolute(paths: tuple[Path, ...]) -> tuple[str, ...]:
    """Returns the paths as a later command finds them from anywhere."""
    return tuple(os.path.abspath(path) for path in paths)  # noqa: PTH100  # links stay as they were named


def _typed(value: str) -> str:
    """Returns a value as the command line takes it; of a sha256 the first 16 digits."""
    return value[:16] if _SHA256.fullmatch(value) else value.replace("_", "-")
