"""The public face of the runtime: images in; ranking, grades, masks, maps and embeddings out."""

import dataclasses
import functools
import os
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from semise_sdk.bundle.signing import PublicKey
from semise_sdk.calibration import Calibration
from semise_sdk.errors import CLOSED, BackendError, BundleError, ReferenceImageError
from semise_sdk.images.isolation import ImageReader, InProcessReader, IsolatedReader, ReaderLimits
from semise_sdk.images.reading import Slot
from semise_sdk.images.record import AnyImage
from semise_sdk.images.sources import Images, Source, describe, named_image, named_images, single
from semise_sdk.inference.answers import analysis_of, classification_of, embedding_of, segmentation_of, severity_of
from semise_sdk.inference.graphs import Graphs, opener_for
from semise_sdk.inference.measure import Measurement, Needs, looked_at, measure
from semise_sdk.inference.model_source import ModelSource, open_source
from semise_sdk.inference.pipeline import Pool, in_order, run_stream
from semise_sdk.results import Analysis, Classification, Embedding, Ranking, Segmentation, Severity
from semise_sdk.severity.comparison import ImageComparison, difference_of
from semise_sdk.severity.ranks import ranked
from semise_sdk.severity.reference_bank import ReferenceBank
from semise_sdk.spec import Decoding, ModelInfo, Precision
from semise_sdk.system.machine import usable_cores
from semise_sdk.system.progress import Reporter, reported
from semise_sdk.timeline import Timeline, Visit, timeline_rows

Reference = Images | ReferenceBank
Answer = TypeVar("Answer")
AnswerOf = Callable[[Measurement, ModelInfo], Answer]


class Predictor:
    """A model, loaded once and ready for any number of images.

    Every method takes a path (a file or a folder), bytes, an array, or an iterable of these that is consumed lazily,
    and gives one answer per image in input order (``rank``: sorted), whatever happened to it: an image that cannot be
    read has ``status`` error and a reason, one that a gate of the bundle's calibration refused ``abstain``, and one
    that is scored but should be looked at ``review``. The methods whose names start with ``iter`` are streams in
    constant memory: images are decoded ahead while the engine runs. The colours of an array are RGB, in this order.

    Threads: any number of threads may call any method at the same time, and each gets exactly what it would get
    alone. A stream itself belongs to one thread at a time. ``close`` may be called from any thread: work in progress
    ends, and every stream that is not finished raises BackendError at its next step. A forked process must open a
    predictor of its own; using its parent's raises BackendError.

    Args:
        source: The bundle or run folder; closed together with the predictor.
        graphs: Its graphs.
        workers: Images decoded at a time; None for one per usable core.
        batch_size: Images per engine run; None for what serves the backend best.
        precision: What the graphs compute in.
        isolate: Whether files and bytes are decoded in processes of their own (see :meth:`open`).
        limits: What each of these processes may use.
        calibration: What answers are judged by: its gates, temperature, grade sets and percentiles. None for the
            bare network's answers.
        decoding: How probabilities become a grade: the most probable one, or the one of least expected MAEE.

    Example:
        >>> with Predictor.open("bundle") as predictor:  # doctest: +SKIP
        ...     ranking = predictor.rank("images", reference="healthy.png")
    """

    def __init__(
        self,
        source: ModelSource,
        graphs: Graphs,
        *,
        workers: int | None = None,
        batch_size: int | None = None,
        precision: Precision = "fp32",
        isolate: bool = True,
        limits: ReaderLimits | None = None,
        calibration: Calibration | None = None,
        decoding: Decoding = "argmax",
    ) -> None:
        if (workers is not None and workers < 1) or (batch_size is not None and batch_size < 1):
            raise ValueError(f"expected workers and batch_size of at least 1, found {workers} and {batch_size}")
        self.precision = precision
        self.calibration = calibration
        self.decoding = decoding
        self._source = source
        self._graphs = graphs
        self._batch_size = batch_size
        self._images = Pool(workers or usable_cores(), "semise-image")
        self._reader: ImageReader = IsolatedReader(self._images.threads, limits) if isolate else InProcessReader()
        self._engines: Pool | None = None
        self._bank: ReferenceBank | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    @classmethod
    def open(
        cls,
        bundle: str | os.PathLike[str],
        *,
        backend: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        precision: Precision = "fp32",
        isolate: bool = True,
        limits: ReaderLimits | None = None,
        public_key: PublicKey | None = None,
        run_seconds: float | None = None,
        decoding: Decoding = "argmax",
        calibrated: bool = True,
    ) -> Self:
        """Returns a predictor for a bundle (a folder or a ``.semise`` file), or for a run folder with backend pytorch.

        Args:
            bundle: The bundle or run folder.
            backend: ``auto``, or one that ``semise doctor`` lists; one that is named is never replaced by another.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; one that is named is never replaced by another.
            threads: Cores that the engine may use; None for all that this process may.
            batch_size: Images per engine run; None for what serves the backend best.
            workers: Images decoded at a time; None for one per usable core.
            precision: ``fp32``, or another that the bundle carries: ``semise info`` lists them with their parity.
            isolate: True decodes files and bytes in processes of their own, so that one that ends its decoder, hangs
                or takes all memory is one row: ``reader_died``, ``reader_timeout`` or ``out_of_memory``. False decodes
                in this process, faster and with no process started, for files that are trusted: a decoder that
                crashes then ends this process.
            limits: What each of these processes may use; None for what :class:`ReaderLimits` says.
            public_key: The key that must have signed the bundle, PEM or a file of it; ``$SEMISE_PUBLIC_KEY`` by
                default. Where there is one, an unsigned or wrongly signed bundle and every run folder is refused.
            run_seconds: After how many seconds an engine's run of one batch is stopped with a BackendError; None for
                120 and 60 more per image. ONNX Runtime and OpenVINO stop between two operators; TensorRT and PyTorch
                cannot be stopped.
            decoding: How probabilities become a grade: ``argmax``, or ``expected_maee`` for the least expected
                exp(|error|).
            calibrated: Whether the bundle's calibration is applied. False gives the bare network's answers without
                any gate: for measuring a model, not for use.

        Raises:
            BundleError: the bundle is damaged, altered or incomplete, does not carry the precision, or is not signed
                by the key.
            BackendError: the backend or device cannot be used here.
            ConfigError: the key cannot be used.
        """
        if run_seconds is not None and not run_seconds > 0:
            raise ValueError(f"expected run_seconds above 0, found {run_seconds}")
        source = open_source(Path(bundle), backend=backend, device=device, precision=precision, public_key=public_key)
        graphs = Graphs(
            opener_for(
                source, backend=backend, device=device, threads=threads, precision=precision, run_seconds=run_seconds
            )
        )
        return cls(
            source,
            graphs,
            workers=workers,
            batch_size=batch_size,
            precision=precision,
            isolate=isolate,
            limits=limits,
            calibration=source.calibration() if calibrated else None,
            decoding=decoding,
        )

    @property
    def name(self) -> str:
        """Name of the bundle or run."""
        return self._source.name

    @property
    def model(self) -> ModelInfo:
        """What the model expects and consists of."""
        return self._source.model

    def reference_pictures(self) -> dict[int, bytes]:
        """Returns the PNG thumbnails of healthy references that the bundle carries, by their place in its bank."""
        return self._source.reference_pictures()

    @property
    def sha256(self) -> str:
        """What names the model and no other: the sha256 of the bundle's manifest, or of the run's weights."""
        return self._source.sha256

    @property
    def batch_size(self) -> int:
        """Images in an engine run of the encoder; loads it if it is not loaded yet."""
        return self._batch_size or self._graphs.get("encoder").batch_size

    @property
    def backend(self) -> str:
        """What computes, such as ``onnxruntime:CPUExecutionProvider``; loads the encoder if nothing is loaded yet."""
        opened = self._graphs.any_opened() or self._graphs.get("encoder")
        return f"{opened.name}:{opened.provider}"

    def rank(self, images: Images, *, reference: Reference | None = None) -> Ranking:
        """Returns the images from most to least severe.

        Severity is the cosine distance to the reference, rounded to 6 decimals. Equal severities keep ranks of their
        own, by file name; images that a gate refused come first and unreadable ones last, without a rank.

        Args:
            images: What to rank.
            reference: Healthy images to measure from: a file, a folder, bytes, an array, an iterable of these or a
                bank; None for the bundle's own bank.

        Raises:
            ReferenceImageError: a reference cannot be used.
        """
        rows = ranked(self.iter_severity(images, reference=reference))
        return Ranking(
            rows=rows, reference=describe_reference(reference), backend=self.backend, precision=self.precision
        )

    def compare_images(self, first: Source, second: Source, *, reference: Reference | None = None) -> ImageComparison:
        """Returns which of two images is the more severe, by how much, and whether the references decide it.

        An image that cannot be scored says so in its own answer, and there is no difference then.

        Args:
            first: Path, bytes or array of one image.
            second: The other.
            reference: As in :meth:`rank`; the interval of the difference takes at least two different images.
        """
        pair = [single(image) for image in (first, second)]
        answers = list(self.iter_severity(pair, reference=reference))
        return ImageComparison(
            first=answers[0],
            second=answers[1],
            difference=difference_of(answers[0], answers[1]),
            reference=describe_reference(reference),
            backend=self.backend,
            precision=self.precision,
        )

    def timeline(
        self, visits: Iterable[Visit], *, reference: Reference | None = None, reporter: Reporter | None = None
    ) -> Timeline:
        """Returns the images of patients over time, with the change since the first and the previous day.

        Args:
            visits: The images with their patients and dates, as :func:`semise_sdk.timeline.read_visits` reads them.
            reference: As in :meth:`rank`; intervals take at least two different images.
            reporter: What is told of each image that is scored; None for nothing.
        """

        def score(images: Sequence[Source]) -> Iterable[Severity]:
            scored = self.iter_severity(images, reference=reference)
            return scored if reporter is None else reported(scored, reporter, label="scoring", total=len(images))

        return Timeline(
            rows=timeline_rows(tuple(visits), score),
            reference=describe_reference(reference),
            backend=self.backend,
            precision=self.precision,
        )

    def classify(self, images: Images) -> list[Classification]:
        """Returns the grade of each image; raises BundleError when the model has no classifier."""
        return list(self.iter_classify(images))

    def segment(self, images: Images) -> list[Segmentation]:
        """Returns the mask of each image at its source's size; raises BundleError when the model has no U-Net."""
        return list(self.iter_segment(images))

    def analyze(self, images: Images, *, reference: Reference | None = None) -> list[Analysis]:
        """Returns everything the model says of each image, from one pass (see :meth:`iter_analyze`)."""
        return list(self.iter_analyze(images, reference=reference))

    def embed(self, images: Images) -> list[Embedding]:
        """Returns the encoder's pooled feature of each image."""
        return list(self.iter_embed(images))

    def iter_severity(self, images: Images, *, reference: Reference | None = None) -> Generator[Severity]:
        """Returns a stream of severities in input order, with grades where the model has a classifier."""
        needs = Needs(bank=self.reference_bank(reference), grade=self.model.has_classifier)
        return self._answers(self._rows(images, self._held_against(needs)), severity_of)

    def iter_classify(self, images: Images) -> Generator[Classification]:
        """Returns a stream of grades in input order; raises BundleError when the model has no classifier."""
        if not self.model.has_classifier:
            raise BundleError(f"expected a model with a classifier, found {self.name} without: train it with labels")
        return self._answers(self._rows(images, self._held_against(Needs(grade=True))), classification_of)

    def iter_segment(self, images: Images) -> Generator[Segmentation]:
        """Returns a stream of masks in input order; raises BundleError when the model has no U-Net."""
        if not self.model.has_segmenter:
            raise BundleError(f"expected a model with a U-Net, found {self.name} without: train it with masks")
        return self._drawn(self._rows(images, self._held_against(Needs(mask=True))), segmentation_of)

    def iter_analyze(
        self, images: Images, *, reference: Reference | None = None, masks: bool = True, maps: bool = True
    ) -> Generator[Analysis]:
        """Returns a stream of analyses in input order: severity, grade, mask and severity map, from one pass.

        Args:
            images: What to analyze.
            reference: As in :meth:`rank`.
            masks: False leaves the masks out, and the U-Net with them.
            maps: False leaves the severity maps out.
        """
        needs = Needs(
            bank=self.reference_bank(reference),
            grade=self.model.has_classifier,
            mask=masks and self.model.has_segmenter,
            places=maps,
        )
        return self._drawn(self._rows(images, self._held_against(needs)), analysis_of)

    def iter_embed(self, images: Images) -> Generator[Embedding]:
        """Returns a stream of embeddings in input order, which no gate looks at."""
        return self._answers(self._rows(images, Needs()), embedding_of)

    def iter_observed(self, images: Images) -> Generator[Measurement]:
        """Returns a stream of what the bare network says, with every vector and the canvas: what calibration needs."""
        return self._rows(images, Needs(grade=self.model.has_classifier, canvas=True))

    def reference_bank(self, reference: Reference | None = None) -> ReferenceBank:
        """Returns the bank that ``reference`` names (see :meth:`rank`), to be given to many calls.

        Raises:
            ReferenceImageError: an image of it cannot be read or used, a gate refuses it, or there is none.
            BundleError: it is None, and the bundle has no bank.
        """
        self._images.check_process()
        if isinstance(reference, ReferenceBank):
            return reference
        if reference is None:
            return self._own_bank()
        vectors = []
        for row in self._rows(reference, Needs(calibration=self.calibration)):
            if row.reference_vector is None:
                raise ReferenceImageError(
                    f"expected healthy reference images, found {row.answer.file} unusable: {row.answer.reason}"
                )
            vectors.append(row.reference_vector)
        if not vectors:
            raise ReferenceImageError(
                f"expected at least one healthy reference image in {describe_reference(reference)}, found none"
            )
        return ReferenceBank(np.stack(vectors), self.model.reference_mode)

    def display(self, image: Source) -> NDArray[np.uint8]:
        """Returns one image at its own size as the model's intensity policy shows it, ``uint8 [H, W, 3]``.

        It is read as every other is: where files are isolated, in another process.

        Raises:
            ImageReadError: it cannot be read or shown.
            BackendError: the predictor is closed.
        """
        self._images.check_process()
        self._check_open()
        return self._reader.display(named_image(image), self.model.spec)

    def close(self) -> None:
        """Lets work in progress end, drops what waits, and releases threads and engines; closing twice is harmless."""
        if self._images.is_forked:
            return
        with self._lock:
            self._is_closed = True
            engines = self._engines
        for pool in (self._images, engines):
            if pool is not None:
                pool.close()
        self._reader.close()
        self._graphs.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _rows(self, images: Images, needs: Needs) -> Generator[Measurement]:
        self._images.check_process()
        graph = self._graphs.get("unet" if needs.mask else "encoder")
        return run_stream(
            named_images(images),
            functools.partial(self._read, calibration=needs.calibration),
            functools.partial(measure, needs=needs, graphs=self._graphs, labels=self.model.labels),
            images=self._images,
            engines=self._engine_pool(graph.concurrency),
            batch_size=self._batch_size or graph.batch_size,
        )

    def _held_against(self, needs: Needs) -> Needs:
        calibration, healthy = self.calibration, None
        if calibration is not None and needs.bank is not None:
            healthy = calibration.healthy.against(needs.bank, is_own=needs.bank is self._bank)
        return dataclasses.replace(needs, calibration=calibration, healthy=healthy, decoding=self.decoding)

    def _read(self, image: AnyImage, *, calibration: Calibration | None) -> Slot:
        return looked_at(self._reader.read(image, self.model.spec), calibration)

    def _own_bank(self) -> ReferenceBank:
        with self._lock:
            self._check_open()
            if self._bank is None:
                self._bank = self._source.references()
            return self._bank

    def _check_open(self) -> None:
        if self._is_closed:
            raise BackendError(CLOSED)

    def _engine_pool(self, threads: int) -> Pool:
        with self._lock:
            self._check_open()
            if self._engines is None:
                self._engines = Pool(threads, "semise-engine")
            return self._engines

    def _answers(self, measured: Generator[Measurement], answer: AnswerOf[Answer]) -> Generator[Answer]:
        with closing(measured):
            for one in measured:
                yield answer(one, self.model)

    def _drawn(self, measured: Generator[Measurement], answer: AnswerOf[Answer]) -> Generator[Answer]:
        # A mask may have a hundred megapixels: few exist at once, and they are drawn beside each other.
        drawn = in_order(self._images, lambda one: answer(one, self.model), measured, ahead=self._images.threads + 1)
        with closing(measured), closing(drawn):
            yield from drawn


def describe_reference(reference: Reference | None) -> str:
    """Returns what severity was measured from in a few words: ``bundle``, a path, or what kind of thing it was."""
    if reference is None:
        return "bundle"
    return f"bank of {len(reference.vectors)}" if isinstance(reference, ReferenceBank) else describe(reference)
