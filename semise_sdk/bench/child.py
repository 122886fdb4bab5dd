"""One row's work in a process of its own, so that its memory and its first result are its own."""

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from semise_sdk.backends.registry import check_backend
from semise_sdk.bench.answers import save_answers
from semise_sdk.bench.measurement import RefusedError, measure_speed, opened
from semise_sdk.bench.rows import Case
from semise_sdk.bundle.signing import PUBLIC_KEY_VARIABLE
from semise_sdk.errors import SemiseError
from semise_sdk.system.json_fields import JsonField, JsonSource

Kind = Literal["probe", "speed", "answers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a child does.

    Args:
        kind: ``probe`` asks whether backend and device can be used at all, ``speed`` measures a row, ``answers``
            writes what the model says of the images.
        bundle: The bundle.
        case: The row.
        images: The images.
        seconds: How long latency and throughput are measured, each.
        ranks: Whether to measure end to end over all images too.
        answers: Folder to write answers to.
        result: File to write the result to.
        public_key: File of the key that must have signed the bundle; empty for ``$SEMISE_PUBLIC_KEY``.
    """

    kind: Kind
    bundle: str
    case: Case
    images: tuple[str, ...] = ()
    seconds: float = 0.0
    ranks: bool = False
    answers: str = ""
    result: str
    public_key: str = ""

    def to_json(self) -> dict[str, object]:
        """Returns plain JSON data that :meth:`from_json` reads back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Self:
        """Returns the job that :meth:`to_json` wrote."""
        return JsonField(data, JsonSource("the job", ValueError)).of(cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a job.

    Args:
        reason: Why it failed; empty where it did not.
        is_refused: True when the backend refuses device or graph, so that another batch would fail alike.
        speed: What a ``speed`` job measured.
    """

    reason: str = ""
    is_refused: bool = False
    speed: Mapping[str, object] | None = None


def work(job: Job) -> Outcome:
    """Returns what became of a job, whatever happened."""
    try:
        return Outcome(speed=_work(job))
    except RefusedError as error:
        return Outcome(reason=str(error), is_refused=True)
    except SemiseError as error:
        return Outcome(reason=str(error), is_refused=job.kind == "probe")
    except Exception as error:  # an engine may raise anything; it costs its row, not the table
        lines = str(error).strip().splitlines() or [""]
        return Outcome(reason=f"{type(error).__name__}: {lines[0]}".removesuffix(": "))


def _work(job: Job) -> Mapping[str, object] | None:
    bundle, images = Path(job.bundle), [Path(image) for image in job.images]
    if job.kind == "probe":
        check_backend(job.case.backend, job.case.device)
    elif job.kind == "answers":
        with opened(bundle, job.case) as (predictor, _):
            save_answers(predictor.iter_analyze(images, maps=False), Path(job.answers))
    else:
        return measure_speed(bundle, job.case, images, seconds=job.seconds, ranks=job.ranks).to_json()
    return None


def main() -> None:
    """Reads a job from standard input, does it, and writes its outcome to the job's file: engines print things."""
    job = Job.from_json(json.load(sys.stdin))
    if job.public_key:
        os.environ[PUBLIC_KEY_VARIABLE] = job.public_key  # as if the whole process had been given it
    Path(job.result).write_text(json.dumps(dataclasses.asdict(work(job))), encoding="utf-8")
