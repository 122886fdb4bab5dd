"""R8: a run over a hundred thousand files needs as much memory as one over a thousand, within 50 MB."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

MEGABYTE = 1 << 20
WITHIN = 50 * MEGABYTE
FEW = 1000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads VmHWM in /proc")

# The resources of a waited-for child would count the memory of this process too, which it had before its exec.
COMMAND = """
import sys
from pathlib import Path
from semise_sdk.cli.app import run
code = run(sys.argv[2:])
Path(sys.argv[1]).write_text(Path("/proc/self/status").read_text())
sys.exit(code)
"""


def peak_memory(*arguments: object, status: Path) -> int:
    """Returns the largest resident size, in bytes, of a command that must succeed."""
    command = [sys.executable, "-c", COMMAND, str(status), *map(str, arguments)]
    subprocess.run(command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def plant(folder: Path, count: int) -> Path:
    """Writes that many images of one pixel, all in one folder."""
    folder.mkdir()
    Image.new("RGB", (1, 1), (30, 20, 200)).save(folder / "first.png")
    content = (folder / "first.png").read_bytes()
    for number in range(1, count):
        (folder / f"{number:06d}.png").write_bytes(content)
    return folder


@pytest.mark.timeout(3000)
def test_memory_does_not_grow_with_the_number_of_files(colour_bundle, tmp_path, amount, figure):
    many = amount(4000, 100_000)
    bundle = ("--bundle", colour_bundle, "--batch-size", 32)
    status = tmp_path / "status"
    peaks = {}
    for count in (FEW, many):
        images = plant(tmp_path / f"images{count}", count)
        run, out = tmp_path / f"run{count}", tmp_path / f"{count}.csv"
        peaks[count] = peak_memory("rank", images, *bundle, "--run", run, "--out", out, "-q", status=status)
        with out.open() as stream:
            assert sum(1 for _ in stream) == count + 1
    again = peak_memory("rank", images, *bundle, "--run", run, "--out", out, "-q", status=status)
    verified = peak_memory("verify-run", run, images, "--json", status=status)
    figure("files", many)
    figure(f"peak memory of rank --run over {FEW} files, MB", round(peaks[FEW] / MEGABYTE))
    figure("more for all files, MB", round((peaks[many] - peaks[FEW]) / MEGABYTE, 1))
    figure("more when the run is given again, MB", round((again - peaks[FEW]) / MEGABYTE, 1))
    figure("peak memory of verify-run over all files, MB", round(verified / MEGABYTE))
    assert peaks[many] - peaks[FEW] < WITHIN
    assert again - peaks[FEW] < WITHIN
