"""What share of opening a bundle's graph its lint is.

    python benchmarks/graph_lint.py [--encoder resnet50] [--rounds 9] [--json FILE]

The encoder graph of an untrained network: the lint alone, then all of it, hash, lint and session of ONNX Runtime. The
medians of the rounds are printed, and their ratio.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_models import ENCODERS, build_bundle

from semise_sdk.bundle import Bundle
from semise_sdk.bundle.graph_lint.policy import check_policy
from semise_sdk.inference.graphs import opener_for
from semise_sdk.system.machine import describe_machine


def main() -> None:
    """Prints the figures."""
    options = parse()
    with tempfile.TemporaryDirectory() as folder, Bundle.open(build_bundle(options.encoder, Path(folder))) as bundle:
        graph = bundle.graph("encoder")
        content = graph.path.read_bytes()
        opener = opener_for(bundle, backend="onnxruntime", device="cpu", precision="fp32")
        lint, opening = [], []
        for _ in range(options.rounds):
            lint.append(
                seconds(lambda: check_policy(content, inputs=graph.inputs, outputs=graph.outputs, name="encoder"))
            )
            opening.append(seconds(lambda: opener("encoder").close()))
    report = {
        "encoder": options.encoder,
        "megabytes": round(len(content) / 1e6, 1),
        "lint_ms": round(1e3 * statistics.median(lint), 2),
        "opening_ms": round(1e3 * statistics.median(opening), 1),
        "lint_over_opening": round(statistics.median(lint) / statistics.median(opening), 4),
        "machine": describe_machine(),
    }
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def seconds(work: Callable[[], object]) -> float:
    """Returns how long ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def parse() -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", choices=ENCODERS, default="resnet50")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
