"""Everything that only a machine with an NVIDIA GPU can show, as one table and one JSON file.

    python benchmarks/gpu.py [--bundle BUNDLE] [--images FOLDER] [--data MANIFEST --weights FILE] [--json FILE]

Training speed of both phases against the same step on a resident random tensor; the methods with three seeds, where
``--data`` names a manifest; ``rank`` end to end against the bare engine per backend and precision, torch.compile
beside them; and the parity of every engine with torch in fp32, in task units. A section that cannot run here is
listed with the reason, one that fails with its error. ``--device cpu`` tries the script itself on a small scale.
"""

import argparse
import contextlib
import csv
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from semise_sdk.cli.commands.bench import print_whole
from semise_sdk.demo.phantoms import write_phantoms
from semise_sdk.system.machine import describe_machine, has_nvidia_gpu

Rows = list[dict[str, object]]

QUALITY = ("macro_f1", "maee", "kendall_tau", "c_index", "auroc_healthy")
SHOWN_DIGITS = 4


class SkippedError(Exception):
    """A section that cannot run here; the message says why."""


@dataclass(frozen=True)
class Section:
    """One part of the table."""

    name: str
    title: str
    run: Callable[[argparse.Namespace, Path], Rows]
    columns: tuple[str, ...]


def main() -> int:
    """Runs every section, prints the tables and writes the JSON; always 0, a failure stands in its section."""
    options = parse_options()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for section in SECTIONS:
            result = run_section(section, options, Path(scratch))
            results.append(result)
            print_section(section, result)
    report = {
        "command": sys.argv,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "sections": results,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"commit {report['commit']} on {json.dumps(report['machine'])}")
    return 0


def parse_options() -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="a bundle with weights; an untrained one of --encoder by default")
    parser.add_argument("--images", type=Path, help="folder of images; phantoms by default")
    parser.add_argument("--count", type=int, default=1_000, help="phantoms to draw where no images are given")
    parser.add_argument("--parity-images", type=int, default=64, help="images for parity, evenly taken")
    parser.add_argument("--data", type=Path, help="manifest for the methods table")
    parser.add_argument("--weights", type=Path, help="encoder weights for it, .safetensors; random ones by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--minutes",
        type=float,
        default=120,
        help="the methods are compared for that long at most; finished cells make the table",
    )
    parser.add_argument("--set", action="append", default=[], help="a training setting, as phase2.epochs=20")
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=256, help="of training")
    parser.add_argument("--engine-batch", type=int, default=64, help="of inference, beside each backend's best")
    parser.add_argument("--precision", default="bf16", help="of training")
    parser.add_argument("--steps", type=int, default=30, help="training steps a measurement")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a measurement of inference")
    parser.add_argument("--comparison", type=Path, help="folder of the methods' cells, to go on from another call")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu tries the script itself")
    parser.add_argument("--only", nargs="+", default=[], choices=("training", "quality", "engines", "torch", "parity"))
    parser.add_argument("--json", type=Path, help="write everything here")
    return parser.parse_args()


def training(options: argparse.Namespace, _scratch: Path) -> Rows:
    """Returns training images/s of both phases against the resident step."""
    require_device(options)
    from gpu_training import training_rows

    return training_rows(
        options.encoder,
        device=options.device,
        precision=options.precision,
        size=options.size,
        batch=options.batch,
        steps=options.steps,
    )


def quality(options: argparse.Namespace, scratch: Path) -> Rows:
    """Returns Table 1 of ``semise compare`` with every method, over ``--seeds`` splits and seeds."""
    require_device(options)
    if options.data is None:
        raise SkippedError("no data were named: --data MANIFEST --weights FILE.safetensors")
    from semise_training.methods import METHODS

    out = options.comparison or scratch / "comparison"
    start = ["--weights", str(options.weights)] if options.weights else ["--from-scratch"]
    arguments = [str(options.data), "--methods", ",".join(METHODS), "--seeds", str(options.seeds), *start]
    arguments += ["--encoder", options.encoder, "--size", str(options.size), "--device", options.device]
    for setting in options.set:
        arguments += ["--set", setting]
    with contextlib.suppress(subprocess.TimeoutExpired):  # the cells that are done stay, and make the table
        compare([*arguments, "--out", str(out), "--quiet"], minutes=options.minutes)
    compare(["--report-only", "--out", str(out), "--quiet"])
    with (out / "table1.csv").open(encoding="utf-8", newline="") as stream:
        return [{"encoder": options.encoder, **row} for row in csv.DictReader(stream)]


def compare(arguments: list[str], *, minutes: float | None = None) -> None:
    """Runs ``semise compare``; raises RuntimeError where it ends otherwise than well, TimeoutExpired after minutes."""
    command = [sys.executable, "-m", "semise_sdk.cli.app", "compare", *arguments]
    timeout = None if minutes is None else 60 * minutes
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    if done.returncode not in (0, 4):  # 4: some cells diverged, the table is without them
        raise RuntimeError(f"semise {' '.join(command[3:])} ended with {done.returncode}: {done.stderr.strip()[-300:]}")


def engines(options: argparse.Namespace, scratch: Path) -> Rows:
    """Returns ``rank`` end to end against the bare engine, per backend, device, precision and batch."""
    require_device(options)
    from gpu_inference import engine_rows

    return engine_rows(
        bundle_of(options, scratch),
        images_of(options, scratch),
        seconds=options.seconds,
        batch=options.engine_batch,
        on_cpu=options.device == "cpu",
    )


def torch_engines(options: argparse.Namespace, scratch: Path) -> Rows:
    """Returns the bare encoder in torch, eager and compiled."""
    require_device(options)
    from gpu_inference import torch_rows

    bundle = bundle_of(options, scratch)
    return torch_rows(bundle, device=options.device, batch=options.engine_batch, seconds=options.seconds)


def parity(options: argparse.Namespace, scratch: Path) -> Rows:
    """Returns the gate's figures of every engine against torch in fp32."""
    require_device(options)
    from gpu_inference import parity_rows

    images = images_of(options, scratch)
    step = max(1, len(images) // options.parity_images)
    return parity_rows(bundle_of(options, scratch), images[::step], on_cpu=options.device == "cpu")


SECTIONS = (
    Section(
        "training",
        "training against the same step on a resident random tensor",
        training,
        ("phase", "encoder", "size", "batch", "precision", "images_per_second", "resident_images_per_second", "ratio"),
    ),
    Section("quality", "methods, mean over splits and seeds", quality, ("method", "encoder", *QUALITY)),
    Section(
        "engines",
        "rank end to end against the bare engine",
        engines,
        ("backend", "device", "precision", "batch", "images_per_second", "rank_images_per_second", "rank_over_engine",
         "first_result_seconds", "reason"),
    ),
    Section(
        "torch",
        "the bare encoder in torch",
        torch_engines,
        ("engine", "device", "precision", "batch", "images_per_second", "error"),
    ),
    Section(
        "parity",
        "parity with torch in fp32",
        parity,
        ("engine", "device", "precision", "passed", "kendall_tau", "c_index", "rank_displacement", "class_flips",
         "pooled_dice", "severity_error", "error"),
    ),
)  # fmt: skip


def require_device(options: argparse.Namespace) -> None:
    """Refuses a section that needs a GPU where there is none."""
    if importlib.util.find_spec("torch") is None:
        raise SkippedError("torch is missing: pip install 'semise-sdk[export]'")
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        seen = "torch cannot use the one that is there" if has_nvidia_gpu() else "none is there"
        raise SkippedError(f"needs an NVIDIA GPU, {seen}")


def run_section(section: Section, options: argparse.Namespace, scratch: Path) -> dict[str, object]:
    """Returns what a section showed, why it was skipped, or how it failed."""
    started = time.perf_counter()
    result: dict[str, object] = {"section": section.name, "status": "ok", "reason": "", "rows": []}
    try:
        if options.only and section.name not in options.only:
            raise SkippedError(f"only {', '.join(options.only)} was asked for")
        result["rows"] = section.run(options, scratch)
    except SkippedError as reason:
        result |= {"status": "skipped", "reason": str(reason)}
    except Exception as error:  # the other sections are not to suffer
        result |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    return result | {"seconds": round(time.perf_counter() - started, 1)}


def print_section(section: Section, result: dict[str, object]) -> None:
    """Prints a section's rows, or why there are none."""
    if result["status"] != "ok":
        print(f"{section.name} ({section.title}): {result['status']}: {result['reason']}")
        return
    rows = result["rows"]
    table = Table(*section.columns, title=section.title)
    for row in rows if isinstance(rows, list) else []:
        table.add_row(*(cell(row.get(column)) for column in section.columns))
    print_whole(table)


def cell(value: object) -> str:
    """Returns a figure as the table shows it."""
    if value is None or value == "":
        return "-"
    return f"{value:.{SHOWN_DIGITS}g}" if isinstance(value, float) and abs(value) < 1 else str(value)


def bundle_of(options: argparse.Namespace, scratch: Path) -> Path:
    """Returns the bundle to measure; one of an untrained encoder, built once, where none was named."""
    if options.bundle is not None:
        return Path(options.bundle)
    from bench_models import build_bundle

    folder = scratch / "untrained"
    return folder / "bundle" if folder.exists() else build_bundle(options.encoder, folder, size=options.size)


def images_of(options: argparse.Namespace, scratch: Path) -> list[Path]:
    """Returns the images to rank; phantoms of 500 pixels, drawn once, where none were named."""
    folder = options.images or scratch / "phantoms" / "images"
    if not folder.is_dir():
        write_phantoms(scratch / "phantoms", count=options.count, size=500)
    return sorted(path for path in folder.iterdir() if path.is_file())


def commit() -> str | None:
    """Returns the commit of the checkout, marked where files differ from it; None outside of one."""
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


if __name__ == "__main__":
    sys.exit(main())
