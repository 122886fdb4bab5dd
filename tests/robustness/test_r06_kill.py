"""R6: a process that is killed at any moment of rank, train or export leaves no half file, and its work goes on.

The uninterrupted run comes first; then the same command is killed with SIGKILL after a random share of the time that it
took, is given again, and must end with the same bytes.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from semise_sdk.demo.phantoms import write_phantoms

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

# Imports once what takes seconds, and runs each command in a fork: a kill then hits the command's own work. Training is
# called without the measuring of `semise train`, which takes longer than so small a training and writes one file.
SERVER = """
import json, os, sys
from pathlib import Path
import PACKAGES
from semise_sdk.cli.app import run
from semise_sdk.system.progress import SilentReporter

def train(root, settings):
    from semise_training.run import train
    from semise_training.recipe import build_config
    if (Path(root) / "config.yaml").exists():
        train.resume(Path(root), reporter=SilentReporter())
    else:
        train.train(build_config("recommended", json.loads(settings)), Path(root), reporter=SilentReporter())
    return 0

for line in sys.stdin:
    pid = os.fork()
    if not pid:
        command, *arguments = json.loads(line)
        code = train(*arguments) if command == "train" else run([command, *arguments])
        sys.stdout.flush()
        os._exit(code)
    print(json.dumps(pid), flush=True)
    print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])), flush=True)
"""
QUICK_TRAINING = {
    "name": "tiny",
    "encoder": {"name": "test_resnet", "init": "scratch"},
    "input": {"size": 32},
    "heads": {"vector_dim": 16},
    "phase1": {"epochs": 1, "batch_size": 16},
    "phase2": {"epochs": 1, "batch_size": 16},
    "refit": {"epochs": 2},
    "classifier": {"epochs": 2, "augmented_views": 1},
    "unet": {"epochs": 1, "decoder_channels": [8, 8, 8, 8, 8]},
    "runtime": {"precision": "fp32"},
}


class Commands:
    """Runs commands one after the other, and kills those that are to be killed."""

    def __init__(self, log: Path, packages: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER.replace("PACKAGES", packages)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )

    def run(self, *arguments: object, seconds: float | None = None) -> tuple[int, float]:
        """Returns a command's exit code and seconds; it is killed after ``seconds``."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        stdin.flush()
        pid = json.loads(self._reply(stdout))
        started = time.perf_counter()
        killer = threading.Timer(seconds or 0.0, os.kill, (pid, signal.SIGKILL))
        if seconds is not None:
            killer.start()
        code = json.loads(self._reply(stdout))
        killer.cancel()
        return code, time.perf_counter() - started

    @staticmethod
    def _reply(stdout) -> str:
        while not (line := stdout.readline()).strip().lstrip("-").isdigit():  # the commands print there too
            assert line, "the server of commands ended"
        return line

    def close(self) -> None:
        """Ends the server."""
        with self._process as process:
            process.stdin.close()


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    server = Commands(tmp_path_factory.mktemp("server") / "log", "semise_training.run.train")
    yield server
    server.close()


@pytest.fixture(scope="module")
def ranking_commands(tmp_path_factory):
    server = Commands(tmp_path_factory.mktemp("server") / "log", "onnxruntime")
    yield server
    server.close()


@pytest.fixture(scope="module")
def moments(amount):
    """Random shares of a command's time, the same on every run."""
    shares = random.Random(7)  # noqa: S311  # no secret
    return [shares.uniform(0.02, 0.9) for _ in range(amount(2, 30))]


@pytest.fixture(scope="module")
def few_moments(moments, amount):
    """The same for commands that take seconds even when small."""
    return moments[: amount(1, 30)]


def content(folder: Path, *, ignore: tuple[str, ...] = ()) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in ignore}


def half_files(folder: Path) -> list[str]:
    return [
        str(path)
        for path in folder.rglob("*")
        if ".tmp" in path.name or path.name.endswith((".new", ".building", ".old"))
    ]


@pytest.mark.timeout(3600)
def test_rank(ranking_commands, moments, colour_bundle, tmp_path, figure, amount):
    folder = tmp_path / "images"
    folder.mkdir()
    colours = random.Random(1)  # noqa: S311  # no secret
    for number in range(amount(600, 3000)):
        colour = (colours.randrange(256), colours.randrange(256), colours.randrange(1, 256))
        Image.new("RGB", (4, 4), colour).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"broken")

    def rank(name, **how):
        where = ("--run", tmp_path / name, "--out", tmp_path / f"{name}.csv", "--batch-size", "16", "-q")
        return ranking_commands.run("rank", folder, "--bundle", colour_bundle, *where, **how)

    code, seconds = rank("whole")
    assert code == 3
    whole = (tmp_path / "whole.csv").read_bytes()
    killed = rows = 0
    for place, moment in enumerate(moments):
        name = f"run{place}"
        killed += rank(name, seconds=moment * seconds)[0] == -signal.SIGKILL
        out, trail = tmp_path / f"{name}.csv", tmp_path / name / "audit.jsonl"
        assert not out.exists() or out.read_bytes() == whole
        rows += trail.read_bytes().count(b'"answer"') // 2 if trail.exists() else 0
        assert rank(name)[0] == 3
        assert out.read_bytes() == whole
        assert ranking_commands.run("verify-run", tmp_path / name, folder)[0] == 0
        assert not half_files(tmp_path / name)
        trailed = [json.loads(line) for line in trail.read_text().splitlines()]
        assert sum(line["event"] == "answer" for line in trailed) == len(list(folder.iterdir()))  # none twice
    assert killed
    figure("rank: kills, of them before the end", f"{len(moments)}, {killed}")
    figure("rank: rows in the trail at the kill, on average", round(rows / len(moments)))
    figure("rank: rankings other than the uninterrupted one, rows lost or repeated, half files", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("kill"), count=40, seed=3, size=48)


@pytest.fixture(scope="module")
def trained(commands, data, tmp_path_factory):
    """An uninterrupted run, and the seconds that it took."""
    root = tmp_path_factory.mktemp("trained") / "run"
    code, seconds = train(commands, data, root)
    assert code == 0
    return root, seconds


def train(commands, data, root, **how):
    """Trains a new run, or goes on with the one in ``root``."""
    return commands.run("train", root, json.dumps({**QUICK_TRAINING, "data": {"manifest": str(data)}}), **how)


@pytest.mark.timeout(3600)
def test_train(commands, few_moments, trained, data, tmp_path, figure):
    whole, seconds = trained
    model = content(whole / "checkpoint")
    killed = 0
    for place, moment in enumerate(few_moments):
        root = tmp_path / f"run{place}"
        killed += train(commands, data, root, seconds=moment * seconds)[0] == -signal.SIGKILL
        assert train(commands, data, root)[0] == 0
        assert content(root / "checkpoint") == model
        assert not half_files(root)
        shutil.rmtree(root)
    assert killed
    figure("train: kills, of them before the end", f"{len(few_moments)}, {killed}")
    figure("train: models other than the uninterrupted run's", 0)


@pytest.mark.timeout(3600)
def test_export(commands, few_moments, trained, tmp_path, figure):
    run, _ = trained

    def export(out, **how):
        where = ("--out", out, "--backend", "onnxruntime", "--max-images", "6", "-q")
        return commands.run("export", run, *where, **how)

    code, seconds = export(tmp_path / "whole")
    assert code == 0
    whole = content(tmp_path / "whole", ignore=("manifest.json",))
    manifest = json.loads((tmp_path / "whole" / "manifest.json").read_bytes())
    killed = 0
    for place, moment in enumerate(few_moments):
        out = tmp_path / f"bundle{place}"
        is_replacing = place % 2 == 0
        if is_replacing:
            shutil.copytree(tmp_path / "whole", out)
        killed += export(out, seconds=moment * seconds)[0] == -signal.SIGKILL
        assert not is_replacing or out.exists()  # a bundle that is in use is there at every moment
        assert not out.exists() or content(out, ignore=("manifest.json",)) == whole
        assert export(out)[0] == 0
        assert content(out, ignore=("manifest.json",)) == whole
        assert json.loads((out / "manifest.json").read_bytes()) | {"created": manifest["created"]} == manifest
        assert commands.run("verify", out, "--backend", "onnxruntime", "-q")[0] == 0
        assert not half_files(out)
        shutil.rmtree(out)
    assert killed
    figure("export: kills, of them before the end", f"{len(few_moments)}, {killed}")
    figure("export: bundles other than the uninterrupted one", 0)
