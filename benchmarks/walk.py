"""Which files a command enters on its way, in order, and how often each is entered from another file.

    python benchmarks/walk.py --bundle BUNDLE --image IMAGE --reference IMAGE --manifest MANIFEST
                              [--tree . --tree ../before] [--json FILE]

Two walks per checkout, each a real command in a process of its own. ``rank``: ``semise rank IMAGE --reference IMAGE
--no-isolate``, to the row of the one image. ``train``: ``semise train MANIFEST`` with a tiny network, to the first
loss, where it ends. A file is entered when one of its functions is called, or a generator of it goes on, from another
file of the three packages, or from none in a new thread. Code that runs because a module is imported does not count.
"""

import argparse
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

PACKAGES = ("semise_sdk", "training/semise_training", "export/semise_export")
SMALL = ["--encoder", "test_resnet", "--from-scratch", "--size", "32", "--device", "cpu", "--set", "runtime.threads=1"]

Entries = dict[str, int]


class LossReached(BaseException):
    """The walk of training ends: no handler of errors is to catch it."""


class Walk:
    """Counts the entries into each file of one checkout, by ``sys.setprofile``, in every thread that starts later."""

    def __init__(self, tree: Path) -> None:
        self.entries: Counter[str] = Counter()
        self._tree = f"{tree}{os.sep}"
        self._packages = tuple(f"{tree / package}{os.sep}" for package in PACKAGES)
        self._thread = threading.local()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Follows one call or return: each thread keeps the file of every Python frame that it is in."""
        stack: list[str] = self._thread.__dict__.setdefault("stack", [""])
        if event == "return" and len(stack) > 1:
            stack.pop()
        elif event == "call":
            stack.append(self._entered(frame, stack[-1]))

    def _entered(self, frame: FrameType, caller: str) -> str:
        """Returns the file that the thread is now in: the caller's, where the frame is of no file of the packages."""
        code = frame.f_code
        if caller == "import" or not code.co_filename.startswith(self._packages):
            return caller
        if not code.co_flags & inspect.CO_OPTIMIZED:  # the body of a module or class, which runs on import
            return "import"
        file = code.co_filename.removeprefix(self._tree)
        if file != caller:
            self.entries[file] += 1
        return file


def main() -> None:
    """Prints both walks of each tree and writes the JSON."""
    options = parse_options()
    if options.inside:
        options.inside.write_text(json.dumps(walked(options.inside_tree, options.command)))
        return
    walks = {str(tree): walks_of(tree.resolve(), options) for tree in options.tree or [Path()]}
    for tree, found in walks.items():
        for name, entries in found.items():
            print(f"\n{tree}, {name}: {len(entries)} files, entered {sum(entries.values())} times")
            print("\n".join(f"{count:7}  {file}" for file, count in entries.items()))
    if options.json:
        options.json.write_text(json.dumps(walks, indent=2) + "\n")


def walks_of(tree: Path, options: argparse.Namespace) -> dict[str, Entries]:
    """Returns the entries of each walk through one checkout, files in the order of their first entry."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        rank = ["rank", options.image, "--bundle", options.bundle, "--reference", options.reference, "--no-isolate"]
        commands = {
            "rank": [*rank, "--out", str(out / "ranking.csv"), "--quiet"],
            "train": ["train", options.manifest, *SMALL, "--out", str(out / "run"), "--quiet"],
        }
        return {name: walk_in_a_process(tree, command, out) for name, command in commands.items()}


def walk_in_a_process(tree: Path, command: list[str], scratch: Path) -> Entries:
    """Returns the entries of one command, run by a Python that imports the checkout's packages."""
    places = [str((tree / package).parent) for package in PACKAGES]
    report = scratch / "walk.json"
    arguments = [str(Path(__file__).resolve()), "--inside", str(report), "--inside-tree", str(tree), "--", *command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    subprocess.run([sys.executable, *arguments], check=True, env=environment, cwd=scratch)
    entries: Entries = json.loads(report.read_text())
    return entries


def walked(tree: Path, command: list[str]) -> Entries:
    """Runs a command of ``semise`` in this process and returns its entries."""
    from semise_sdk.cli.app import run

    if command[0] == "train":
        stop_at_the_first_loss()
    walk = Walk(tree)
    threading.setprofile(walk)
    sys.setprofile(walk)
    try:
        code = run(command)
    except LossReached:
        code = 0
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if code or not walk.entries:
        raise SystemExit(f"expected {' '.join(command)} to succeed in {tree}, found exit code {code}")
    return dict(walk.entries)


def stop_at_the_first_loss() -> None:
    """Makes the first backward pass end the command."""
    import torch

    def backward(*_: object, **__: object) -> None:
        raise LossReached

    torch.Tensor.backward = backward


def parse_options() -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("bundle", "image", "reference", "manifest"):
        parser.add_argument(f"--{name}", type=lambda path: str(Path(path).resolve()), default="")
    parser.add_argument("--tree", type=Path, action="append", help="a checkout; repeatable; this folder by default")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--inside-tree", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
