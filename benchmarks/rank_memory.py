"""Peak memory of ``semise rank`` over few and over many files: it must not grow with the folder.

    python benchmarks/rank_memory.py --bundle RUN/bundle [--json FILE]

Each count runs in a process of its own; the figure is the Linux kernel's own peak of resident memory (VmHWM). The
files are distinct copies of phantom images.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_models import build_bundle
from rich.console import Console
from rich.table import Table

from semise_sdk.demo.phantoms import write_phantoms
from semise_sdk.system.machine import describe_machine

LIMIT_MIB = 50


def main() -> int:
    """Measures, prints the table, writes the JSON; 1 when memory grew by more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="a bundle; one of tf_efficientnet_lite0 by default")
    parser.add_argument("--counts", type=int, nargs=2, default=(1_000, 20_000))
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "openvino"])
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bundle = options.bundle or build_bundle("tf_efficientnet_lite0", Path(scratch) / "model", size=64)
        folders = [write_files(Path(scratch) / str(count), count) for count in options.counts]
        rows = [row_of(bundle, backend, folders, options.counts) for backend in options.backends]
    Console().print(table_of(rows, options.counts))
    if options.json:
        options.json.write_text(json.dumps({"machine": describe_machine(), "rows": rows}, indent=2) + "\n")
    return int(any(float(str(row["growth_mib"])) > LIMIT_MIB for row in rows))


def write_files(folder: Path, count: int) -> Path:
    """Returns a folder of ``count`` image files."""
    write_phantoms(folder / "source", count=50)
    sources = sorted((folder / "source" / "images").iterdir())
    target = folder / "images"
    target.mkdir()
    for index in range(count):
        source = sources[index % len(sources)]
        shutil.copyfile(source, target / f"{index:06d}{source.suffix}")
    return target


def row_of(bundle: Path, backend: str, folders: list[Path], counts: tuple[int, int]) -> dict[str, object]:
    """Returns a row of the table: both peaks and their difference."""
    few, many = (peak_mib(bundle, backend, folder) for folder in folders)
    return {"backend": backend, **{f"peak_mib_{c}": p for c, p in zip(counts, (few, many), strict=True)},
            "growth_mib": round(many - few, 1)}  # fmt: skip


def peak_mib(bundle: Path, backend: str, folder: Path) -> float:
    """Returns the peak resident memory of one ``semise rank`` in MiB."""
    arguments = ["rank", str(folder), "--bundle", str(bundle), "--backend", backend, "--quiet"]
    arguments += ["--out", str(folder.parent / f"{backend}.csv")]
    # In getrusage the parent's peak would count as the child's; the kernel's own mark starts anew at exec.
    code = (
        "import sys; from semise_sdk.cli.app import run; code = run(sys.argv[1:])\n"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"semise rank failed over {folder}: {done.stderr}")
    return round(int(done.stdout) / 1024, 1)


def table_of(rows: list[dict[str, object]], counts: tuple[int, int]) -> Table:
    """Returns the printed table."""
    table = Table("backend", *(f"peak over {count:,} files, MiB" for count in counts), "growth, MiB")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


if __name__ == "__main__":
    sys.exit(main())
