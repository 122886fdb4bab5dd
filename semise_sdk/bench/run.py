"""Runs a benchmark: row after row, nothing beside, each in a process of its own."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from semise_sdk.bench.child import Job, Kind, Outcome
from semise_sdk.bench.compare import Comparison, Truth
from semise_sdk.bench.process import run_job
from semise_sdk.bench.rows import BenchRow, Case, Speed
from semise_sdk.bundle import Bundle, GraphName
from semise_sdk.demo.phantoms import write_phantoms
from semise_sdk.errors import BundleError
from semise_sdk.spec import Precision
from semise_sdk.system.machine import describe_machine
from semise_sdk.system.progress import Reporter

BATCHES: tuple[int | None, ...] = (None, 1, 16)
"""The backend's best, one at a time, and a common larger one."""

_PHANTOMS = 16
_GRAPHS: tuple[GraphName, ...] = ("encoder", "classifier", "unet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to measure.

    Args:
        bundle: The bundle, a folder or a ``.semise`` file.
        targets: Backends and devices, in the order of the table.
        precisions: Precisions; None for all that the bundle carries.
        batches: Images per engine run, None among them for what serves a backend best.
        seconds: How long latency and throughput of a row are measured, each.
        images: Images; none for phantoms, which show speed only.
        truth: Their labels; None for agreement with the bundle's own fp32 run.
        most_compared: Most images without labels on which answers are compared, evenly taken.
        public_key: The key that must have signed the bundle; ``$SEMISE_PUBLIC_KEY`` by default.
    """

    bundle: Path
    targets: tuple[tuple[str, str], ...]
    precisions: tuple[Precision, ...] | None = None
    batches: tuple[int | None, ...] = BATCHES
    seconds: float = 2.0
    images: tuple[Path, ...] = ()
    truth: Truth | None = None
    most_compared: int = 256
    public_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchReport:
    """The table of a benchmark, and what it was read on."""

    bundle: str
    machine: Mapping[str, object]
    images: int
    is_labeled: bool
    seconds: float
    rows: tuple[BenchRow, ...]

    def to_json(self) -> dict[str, object]:
        """Returns the report as plain JSON data."""
        kind = "labeled" if self.is_labeled else "unlabeled"
        return {
            "schema": 1,
            "bundle": self.bundle,
            "machine": dict(self.machine),
            "images": {"kind": kind if self.images else "phantoms", "count": self.images or _PHANTOMS},
            "seconds_per_measurement": self.seconds,
            "rows": [row.to_json() for row in self.rows],
        }


def run_bench(request: Request, *, reporter: Reporter) -> BenchReport:
    """Returns the table of a bundle on this machine; a row that cannot run stays in it with the reason.

    Raises:
        BundleError: the bundle is damaged.
    """
    with (
        tempfile.TemporaryDirectory(prefix="semise-bench-") as folder,
        Bundle.open(request.bundle, public_key=request.public_key) as bundle,
    ):
        bench = _Bench(bundle, request, Path(folder), reporter)
        rows = tuple(bench.rows())
        return BenchReport(
            bundle=bundle.name,
            machine=describe_machine(),
            images=len(request.images),
            is_labeled=request.truth is not None,
            seconds=request.seconds,
            rows=rows,
        )


def _key(request: Request) -> str:
    return "" if request.public_key is None else str(request.public_key)


class _Bench:
    """One benchmark in progress."""

    def __init__(self, bundle: Bundle, request: Request, scratch: Path, reporter: Reporter) -> None:
        self._bundle = bundle
        self._request = request
        self._scratch = scratch
        self._reporter = reporter
        self._precisions = request.precisions or bundle.precisions
        given = request.images or _phantoms(scratch / "phantoms")
        self._images = tuple(str(image) for image in given)
        step = 1 if request.truth else max(1, -(-len(given) // request.most_compared))
        self._comparison = Comparison(
            request.bundle, self._images[::step], request.truth, scratch, public_key=_key(request)
        )

    def rows(self) -> Iterator[BenchRow]:
        """Yields the rows of the table in its order."""
        request, of_engine = self._request, len(self._request.batches) + bool(self._request.images)
        self._reporter.start("measuring", len(request.targets) * (1 + len(self._precisions) * of_engine))
        for backend, device in request.targets:
            case = Case(backend=backend, device=device)
            refusal = self._run("probe", case).reason
            self._step(case, 1)
            if refusal:
                self._step(case, len(self._precisions) * of_engine)
                yield BenchRow(case=case, reason=refusal)
                continue
            for precision in self._precisions:
                yield from self._engine(replace(case, precision=precision))

    def _engine(self, engine: Case) -> list[BenchRow]:
        """Returns the rows of one backend, device and precision, by batch; a single one where it is refused."""
        rows: list[BenchRow] = []
        for position, batch in enumerate(self._request.batches):
            case = replace(engine, batch=batch)
            if any(row.speed is not None and row.batch == batch for row in rows):
                self._step(case, 1)
                continue
            outcome = self._run("speed", case)
            if outcome.is_refused:
                self._step(engine, len(self._request.batches) - position + bool(self._request.images))
                return [BenchRow(case=engine, reason=outcome.reason)]
            self._step(case, 1)
            speed = None if outcome.speed is None else Speed.from_json(outcome.speed)
            rows.append(BenchRow(case=case, speed=speed, reason=outcome.reason))
        return self._judged(engine, sorted(rows, key=lambda row: row.batch or 0))

    def _judged(self, engine: Case, rows: list[BenchRow]) -> list[BenchRow]:
        """Returns rows with the sizes of what they load, and with what the engine's answers are worth."""
        sizes = self._model_bytes(engine)
        rows = [replace(row, model_bytes=sizes) for row in rows]
        if not self._request.images:
            return rows
        runs = any(row.speed is not None for row in rows)
        found = self._comparison.judge(engine) if runs else None
        self._step(engine, 1)
        if found is None:
            return rows
        return [
            replace(row, metrics=found.metrics, agreement=found.agreement, answers_reason=found.reason)
            if row.speed is not None
            else row
            for row in rows
        ]

    def _run(self, kind: Kind, case: Case) -> Outcome:
        result = self._scratch / "result.json"
        result.unlink(missing_ok=True)
        request = self._request
        return run_job(
            Job(
                kind=kind,
                bundle=str(request.bundle),
                case=case,
                images=() if kind == "probe" else self._images,
                seconds=request.seconds,
                ranks=bool(request.images),
                result=str(result),
                public_key=_key(request),
            )
        )

    def _model_bytes(self, engine: Case) -> dict[str, int]:
        if engine.backend == "pytorch":
            return {"weights": self._bundle.weights.stat().st_size}
        sizes: dict[str, int] = {}
        for name in _GRAPHS:
            try:
                file = self._bundle.graph(name, engine.precision or "fp32")
            except BundleError:  # a model without that head
                continue
            if file.path is not None:
                sizes[name] = file.path.stat().st_size
        return sizes

    def _step(self, case: Case, steps: int) -> None:
        for _ in range(steps):
            self._reporter.step(str(case))


def _phantoms(folder: Path) -> tuple[Path, ...]:
    write_phantoms(folder, count=_PHANTOMS)
    return tuple(sorted((folder / "images").iterdir()))
