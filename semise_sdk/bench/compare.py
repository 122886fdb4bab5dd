"""What stands beside a speed: the engine's answers against the truth, and against the bundle's own fp32 run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from semise_sdk.bench.agreement import Figures, agreement
from semise_sdk.bench.answers import load_answers
from semise_sdk.bench.child import Job
from semise_sdk.bench.process import run_job
from semise_sdk.bench.rows import Case
from semise_sdk.errors import SemiseError
from semise_sdk.metrics.evaluation import evaluate
from semise_sdk.workflows.evaluate import LabeledImage, ReadMask, gather

TASK_METRICS = ("c_index", "kendall_tau", "macro_f1", "dice", "pooled_dice")

_REPEATS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The labels of the images of a benchmark.

    Args:
        images: The images, each with its truth.
        num_classes: K, the number of the model's severity levels.
        read_mask: Reads a mask file.
    """

    images: tuple[LabeledImage, ...]
    num_classes: int
    read_mask: ReadMask


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one engine's answers are worth; ``reason`` says why there are no figures."""

    metrics: Mapping[str, Mapping[str, float | int | None]] | None = None
    agreement: Figures | None = None
    reason: str = ""


class Comparison:
    """Asks engines for their answers, and judges them.

    Args:
        bundle: The bundle.
        images: The images to answer for.
        truth: Their labels, or None.
        scratch: Folder for answers.
        public_key: As in :class:`Job`.
    """

    def __init__(
        self, bundle: Path, images: Iterable[str], truth: Truth | None, scratch: Path, *, public_key: str = ""
    ) -> None:
        self._bundle = bundle
        self._images = tuple(images)
        self._truth = truth
        self._scratch = scratch
        self._public_key = public_key
        self._answers: dict[Case, Path | str] = {}
        self._reference: Case | None = None

    def judge(self, engine: Case) -> Judgement:
        """Returns what an engine's answers are worth.

        The first engine that answers in fp32 is the one that the others are compared with.
        """
        answers = self._answers_of(engine)
        if isinstance(answers, str):
            return Judgement(reason=answers)
        if self._reference is None:
            own = replace(engine, precision="fp32")
            self._reference = own if isinstance(self._answers_of(own), Path) else None
        try:
            return Judgement(metrics=self._metrics(answers), agreement=self._agreement(answers))
        except SemiseError as error:
            return Judgement(reason=str(error))

    def _answers_of(self, engine: Case) -> Path | str:
        """Returns the folder of an engine's answers, or why there is none."""
        if engine not in self._answers:
            folder = self._scratch / f"answers-{len(self._answers)}"
            job = Job(
                kind="answers",
                bundle=str(self._bundle),
                case=engine,
                images=self._images,
                answers=str(folder),
                result=str(self._scratch / "answers.json"),
                public_key=self._public_key,
            )
            self._answers[engine] = run_job(job).reason or folder
        return self._answers[engine]

    def _metrics(self, answers: Path) -> dict[str, dict[str, float | int | None]] | None:
        truth = self._truth
        if truth is None:
            return None
        observations = gather(
            truth.images, load_answers(answers), num_classes=truth.num_classes, read_mask=truth.read_mask
        )
        report = evaluate(observations, repeats=_REPEATS)
        return {name: report[name].to_json() for name in TASK_METRICS}

    def _agreement(self, answers: Path) -> Figures | None:
        reference = None if self._reference is None else self._answers_of(self._reference)
        if not isinstance(reference, Path):
            return None
        return {"reference": str(self._reference), **agreement(load_answers(reference), load_answers(answers))}
