"""The manifest: which images there are, how severe they are, and what belongs together."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semise_sdk.errors import DataError
from semise_sdk.spec import SplitName
from semise_sdk.tables.read import Problem, SourceRow, headers_of, parse_headers, read_table

COLUMNS = ("image", "severity", "label", "mask", "group", "split")
REQUIRED_COLUMNS = ("image", "severity")
MAX_SEVERITY = 999

_FOLDER_MANIFESTS = tuple(f"{stem}.{suffix}" for suffix in ("csv", "jsonl") for stem in ("labels", "data", "manifest"))
_SEVERITY = re.compile(r"([0-9]+)(\.0*)?")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_SPLITS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "calibration": "calibration",
    "calib": "calibration",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a manifest.

    Args:
        row: 1-based line number in the manifest, as an editor shows it.
        image: Where the image is.
        severity: Level, 0 is healthy; None for an unlabeled image.
        label: The grade's name as the row gives it.
        mask: Where the lesion mask is.
        group: Patient, study or lesion: what no split may cut. The image's own name where the row gives none.
        split: The part that the manifest puts the image in.
    """

    row: int
    image: Path
    severity: int | None
    label: str | None
    mask: Path | None
    group: str
    split: SplitName | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The images of a manifest file.

    Args:
        path: The file.
        root: Folder that relative paths in the file start from.
        samples: One per row, in the file's order.
        labels: Grade names in severity order; the index is the level.
    """

    path: Path
    root: Path
    samples: tuple[Sample, ...]
    labels: tuple[str, ...]

    @property
    def levels(self) -> tuple[int, ...]:
        """The severity levels that occur, ascending."""
        return tuple(sorted({sample.severity for sample in self.samples if sample.severity is not None}))

    @property
    def classes(self) -> int:
        """K, the number of grades: the highest level plus 1; 0 when no image is labeled."""
        return len(self.labels)

    @property
    def names_splits(self) -> bool:
        """True when at least one row names its split."""
        return any(sample.split is not None for sample in self.samples)

    @property
    def without_split(self) -> list[Sample]:
        """The labeled samples that name no split."""
        return [sample for sample in self.samples if sample.severity is not None and sample.split is None]

    def absent_parts(self, parts: Iterable[SplitName]) -> list[SplitName]:
        """Returns those of ``parts`` that no labeled row names."""
        named = {sample.split for sample in self.samples if sample.severity is not None}
        return [part for part in parts if part not in named]

    def sharing(self, keys: Sequence[Hashable | None]) -> list[list[Sample]]:
        """Returns the samples that share a key (one per sample), for each key that two or more share."""
        members: defaultdict[Hashable, list[Sample]] = defaultdict(list)
        for sample, key in zip(self.samples, keys, strict=True):
            if key is not None:
                members[key].append(sample)
        return [samples for samples in members.values() if len(samples) > 1]

    def name_of(self, sample: Sample) -> str:
        """Returns the image's path as the file gives it: relative to ``root`` where it lies below."""
        return _name(sample.image, self.root)


@dataclass(frozen=True, slots=True)
class Scan:
    """A manifest's usable rows, and what is wrong with the others."""

    manifest: Manifest
    problems: tuple[Problem, ...]


def load_manifest(path: Path, *, columns: Mapping[str, str] | None = None, root: Path | None = None) -> Manifest:
    """Returns the manifest of a CSV or JSONL file, or of the folder that holds one.

    Args:
        path: The file, or a folder with labels.csv, data.csv, manifest.csv or the same as .jsonl.
        columns: The file's header for each of our names that differs, such as ``{"image": "file"}``.
        root: Folder that relative paths start from; the manifest's own by default.

    Raises:
        DataError: the file is unusable, or some rows are wrong; ``problems`` lists every one with its row number.
        ConfigError: ``columns`` names a column that is not ours.
    """
    scan = scan_manifest(path, columns=columns, root=root)
    if scan.problems:
        raise DataError(
            f"expected a manifest without mistakes, found {len(scan.problems)} in {scan.manifest.path} "
            f"(first: {scan.problems[0]}); correct them, or see them all with: semise data check {path}",
            problems=[str(problem) for problem in scan.problems],
        )
    return scan.manifest


def scan_manifest(path: Path, *, columns: Mapping[str, str] | None = None, root: Path | None = None) -> Scan:
    """Returns what :func:`load_manifest` does with the wrong rows left out and listed beside.

    Raises:
        DataError: the file is unusable as a whole.
        ConfigError: ``columns`` names a column that is not ours.
    """
    file = find_manifest(path)
    table = read_table(file)
    headers = headers_of(table, columns or {}, file, known=COLUMNS, required=REQUIRED_COLUMNS)
    base = file.parent if root is None else root
    samples, problems = _samples(table.rows, headers, base)
    if not samples and not (problems or table.problems):
        raise DataError(f"expected one line per image below the header, found none: {file}")
    labels, label_problems = _labels(samples)
    every = sorted((*table.problems, *problems, *label_problems), key=lambda problem: problem.row)
    return Scan(Manifest(file, base, tuple(samples), labels), tuple(every))


def find_manifest(path: Path) -> Path:
    """Returns ``path`` itself, or the manifest in it when it is a folder; raises DataError when there is none."""
    if not path.is_dir():
        return path
    for name in _FOLDER_MANIFESTS:
        if (path / name).is_file():
            return path / name
    entries, names = len(list(path.iterdir())), ", ".join(_FOLDER_MANIFESTS)
    raise DataError(f"expected a manifest file in the folder {path}, found none of {names} among {entries} entries")


def parse_columns(text: str) -> dict[str, str]:
    """Returns the mapping of ``image=file,group=split_group``; raises ConfigError for any other text.

    Example:
        >>> parse_columns("image=file,group=split_group")
        {'image': 'file', 'group': 'split_group'}
    """
    return parse_headers(text, COLUMNS)


def _samples(rows: Sequence[SourceRow], headers: Mapping[str, str], root: Path) -> tuple[list[Sample], list[Problem]]:
    samples: list[Sample] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for row in rows:
        cells = {name: row.cells.get(header, "") for name, header in headers.items()}
        wrong = _cell_problems(cells)
        if not wrong:
            sample = _sample(row.line, cells, root)
            first = seen.setdefault(os.path.normpath(sample.image), row.line)
            wrong = [] if first == row.line else [f"the image {cells['image']} is already in row {first}"]
        if wrong:
            problems.extend(Problem(row.line, message) for message in wrong)
        else:
            samples.append(sample)
    return samples, problems


def _cell_problems(cells: Mapping[str, str]) -> list[str]:
    wrong = [f"{name} holds unprintable characters" for name, cell in cells.items() if _UNPRINTABLE.search(cell)]
    if not cells["image"]:
        wrong.append("expected an image path, found an empty cell")
    severity, split = cells["severity"], cells.get("split", "")
    if severity and _severity(severity) is None:
        wrong.append(
            f"expected a severity of 0 to {MAX_SEVERITY} as a whole number or nothing, found {severity[:40]!r}"
        )
    if split and split.lower() not in _SPLITS:
        wrong.append(f"expected a split of train, val, test or calibration, found {split[:40]!r}")
    return wrong


def _severity(cell: str) -> int | None:
    match = _SEVERITY.fullmatch(cell)
    if match is None or len(match.group(1)) > 9 or int(match.group(1)) > MAX_SEVERITY:
        return None
    return int(match.group(1))


def _sample(line: int, cells: Mapping[str, str], root: Path) -> Sample:
    image = root / cells["image"]
    return Sample(
        row=line,
        image=image,
        severity=_severity(cells["severity"]),
        label=cells.get("label") or None,
        mask=root / cells["mask"] if cells.get("mask") else None,
        group=cells.get("group") or _name(image, root),
        split=_SPLITS.get(cells.get("split", "").lower()),
    )


def _name(image: Path, root: Path) -> str:
    return (image.relative_to(root) if image.is_relative_to(root) else image).as_posix()


def _labels(samples: Iterable[Sample]) -> tuple[tuple[str, ...], list[Problem]]:
    """Returns the most common label of each level, and a problem where two levels share a name."""
    votes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    first_row: dict[int, int] = {}
    for sample in samples:
        if sample.severity is not None:
            first_row.setdefault(sample.severity, sample.row)
            votes[sample.severity].update([sample.label] if sample.label else [])
    names = [_most_common(votes[level]) or f"severity {level}" for level in range(max(first_row, default=-1) + 1)]
    problems = [
        Problem(first_row[level], f"severity {names.index(name)} and severity {level} are both called {name!r}")
        for level, name in enumerate(names)
        if names.index(name) < level and level in first_row
    ]
    return tuple(names), problems


def _most_common(votes: Counter[str]) -> str | None:
    return min(votes, key=lambda label: (-votes[label], label), default=None)
