"""How much of a ranking the reference bank leaves open, and how large the tie groups of four definitions are.

    python benchmarks/tie_groups.py --bundle RUN/bundle IMAGES [--every 4] [--json FILE]

The figures of docs/decisions/0018-what-the-bank-leaves-open.md.
"""

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from semise_sdk.images.readers import find_images
from semise_sdk.predictor import Predictor
from semise_sdk.results import Severity
from semise_sdk.severity.difference import difference

IsOpen = Callable[[Severity, Severity], bool]


def main() -> None:
    """Ranks the images, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take every Nth image")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with Predictor.open(options.bundle, backend="onnxruntime") as predictor:
        references = len(predictor.reference_bank().vectors)
        chosen = itertools.islice(find_images(options.images), 0, None, options.every)
        scored = [answer for answer in predictor.iter_severity(chosen) if answer.severity is not None]
    ranking = sorted(scored, key=lambda answer: -(answer.severity or 0.0))
    rows = [row_of(name, ranking, is_open) for name, is_open in (("overlap", overlaps), ("paired", is_undecided))]
    print_table(rows, images=len(ranking), references=references)
    if options.json:
        found = {"images": len(ranking), "references": references, "rows": rows}
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def overlaps(first: Severity, second: Severity) -> bool:
    """Whether the intervals of two images in descending order share a severity."""
    return (first.severity_low or 0.0) <= (second.severity_high or 0.0)


def is_undecided(first: Severity, second: Severity) -> bool:
    """Whether the interval of their difference holds zero."""
    return difference(first, second).is_decided is False


def row_of(name: str, ranking: Sequence[Severity], is_open: IsOpen) -> dict[str, str | float | int]:
    """Returns a row of the table: the share of open pairs, and the groups of chained and of anchored images."""
    pairs = list(itertools.combinations(ranking, 2))
    chained = [0]
    for first, second in itertools.pairwise(ranking):
        chained.append(chained[-1] + (not is_open(first, second)))
    anchored, head = [], 0
    for place, image in enumerate(ranking):
        head = head if is_open(ranking[head], image) else place
        anchored.append(head)
    return {
        "open where": name,
        "open pairs": round(sum(itertools.starmap(is_open, pairs)) / len(pairs), 4),
        "chained groups": len(set(chained)),
        "largest chain": max(Counter(chained).values()),
        "anchored groups": len(set(anchored)),
        "largest anchored": max(Counter(anchored).values()),
    }


def print_table(rows: Sequence[dict[str, str | float | int]], *, images: int, references: int) -> None:
    """Prints the rows."""
    table = Table(*rows[0], title=f"{images} images, {references} references")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
