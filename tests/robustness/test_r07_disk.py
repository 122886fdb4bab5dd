"""R7: a disk that is full or cannot be written is exit code 74 and one sentence; what was there stays as it was."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from semise_sdk.cli.app import run

OUTPUT_FAILED = 74

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs, /dev/full and RLIMIT_FSIZE of Linux")
pytestmark = linux


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("disk") / "images"
    folder.mkdir()
    for number in range(300):
        Image.new("RGB", (16, 16), (number % 256, number // 2, 200)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def disk(tmp_path):
    """An empty disk of 4 MB; skips, saying so, where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.call(mount):
        pytest.skip("needs root and mount for a disk of 4 MB")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, left: int) -> Path:
    """Fills the disk but for ``left`` bytes; returns the file to be removed to free it."""
    filler = disk / "filler"
    status = os.statvfs(disk)
    filler.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - left)))
    return filler


def limited(*arguments: object, limit: int | None = None, stdout=subprocess.PIPE) -> tuple[int, str, str]:
    """Returns exit code, output and errors of a command in a process whose files may not grow beyond ``limit``."""

    def limit_files() -> None:
        import resource

        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-m", "semise_sdk.cli.app", *map(str, arguments), "--quiet"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "500"},
        preexec_fn=limit_files,
        check=False,
    )
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()


@pytest.fixture
def semise(capsys):
    """Returns a function that gives a command's exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([*map(str, arguments), "--quiet"])
        return code, *capsys.readouterr()

    return call


def refused(outcome: tuple[int, str, str], what: str) -> bool:
    code, _, said = outcome
    assert code == OUTPUT_FAILED, said
    assert len(said.strip().splitlines()) == 1, said
    assert what in said
    return True


def test_full_and_read_only_disks(disk, images, semise, colour_bundle, tmp_path, figure):
    bundle = ("--bundle", colour_bundle)
    code, whole, _ = semise("rank", images, *bundle)
    assert code == 0
    old = disk / "old.csv"
    old.write_bytes(b"the old ranking")
    assert semise("rank", images, *bundle, "--run", disk / "whole")[:2] == (0, whole)
    (disk / "old.html").write_bytes(b"the old page")
    before = {path.name: path.read_bytes() for path in (disk / "whole").iterdir()}

    filler = fill(disk, 8192)
    full = "No space left on device"
    cases = [
        refused(semise("rank", images, *bundle, "--out", old), full),
        refused(semise("classify", images, *bundle, "--out", old, "--format", "json"), full),
        refused(semise("rank", images, *bundle, "--maps", disk / "maps", "--out", tmp_path / "m.csv"), full),
        refused(semise("embed", images, *bundle, "--out", disk / "old.npz"), full),
        refused(semise("rank", images, *bundle, "--run", disk / "new", "--phi", "keep"), ""),
        refused(semise("merge", disk / "whole", "--out", old), full),
        refused(semise("rank", images, *bundle, "--report", disk / "old.html", "--out", tmp_path / "r.csv"), full),
    ]
    assert (disk / "old.html").read_bytes() == b"the old page"
    assert old.read_bytes() == b"the old ranking"
    assert not (disk / "old.npz").exists()
    assert not (tmp_path / "m.csv").exists()

    filler.unlink()
    filler = fill(disk, 90_000)  # room for a part of the rows
    cases.append(
        refused(semise("rank", images, *bundle, "--run", disk / "halfway", "--phi", "keep"), "could not write")
    )
    filler.unlink()
    for name in ("new", "halfway"):
        assert semise("rank", images, *bundle, "--run", disk / name, "--phi", "keep")[:2] == (0, whole)
    assert {path.name: path.read_bytes() for path in (disk / "whole").iterdir()} == before

    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    cases += [
        refused(semise("rank", images, *bundle, "--out", old), "Read-only file system"),
        refused(semise("rank", images, *bundle, "--run", disk / "whole"), "Read-only file system"),
        refused(semise("rank", images, *bundle, "--run", disk / "another"), "Read-only file system"),
    ]
    assert old.read_bytes() == b"the old ranking"
    assert not [path.name for path in disk.rglob("*") if ".tmp" in path.name]
    figure("full and read-only disks: cases, all exit code 74, old output intact", len(cases))


def test_a_reader_without_room_and_a_limit_on_files(images, colour_bundle, tmp_path, figure):
    bundle = ("--bundle", colour_bundle)
    code, whole, _ = limited("rank", images, *bundle)
    assert code == 0
    with Path("/dev/full").open("wb") as full:
        assert refused(limited("rank", images, *bundle, stdout=full), "standard output")
    out = tmp_path / "old.csv"
    out.write_bytes(b"the old ranking")
    assert refused(limited("rank", images, *bundle, "--out", out, limit=4096), "File too large")
    assert out.read_bytes() == b"the old ranking"
    folder = tmp_path / "run"
    assert refused(limited("rank", images, *bundle, "--run", folder, "--phi", "keep", limit=100_000), "could not write")
    assert limited("rank", images, *bundle, "--run", folder, "--phi", "keep")[:2] == (0, whole)
    assert [path.name for path in tmp_path.iterdir() if ".tmp" in path.name] == []
    figure("standard output and limited files: cases, all exit code 74, old output intact", 3)
