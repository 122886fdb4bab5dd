"""R10: thousands of predictions in one process, whose memory must stay flat."""

import json
import subprocess
import sys

import numpy as np
import pytest

LIMIT_BYTES = 1024

# A process of its own: what pytest and other tests hold must neither hide a leak nor look like one.
PROGRAM = """
import gc, io, itertools, json, os, sys
import numpy as np
from PIL import Image
from semise_sdk.predictor import Predictor

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident():
    gc.collect()
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * PAGE


def picture(side, generator):
    stream = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (side, side, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


bundle, count, step = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
generator = np.random.default_rng(0)
images = [picture(side, generator) for side in (10, 24, 60, 100)] + [b"no image"]
samples = []
with Predictor.open(bundle, backend="onnxruntime", threads=1, workers=2) as predictor:
    for start in range(0, count, step):
        chosen = list(itertools.islice(itertools.cycle(images), step))
        if (start // step) % 2:
            answers = list(predictor.iter_analyze(chosen, masks=False))
        else:
            answers = [answer for image in chosen for answer in predictor.iter_severity([image])]
        assert sum(answer.status == "ok" for answer in answers) == step * 4 // 5
        del answers
        samples.append((start + step, resident()))
print(json.dumps(samples))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.timeout(900)
def test_memory_stays_flat_over_thousands_of_predictions(colour_bundle, amount, figure):
    count, step = amount(1_500, 20_000), amount(50, 250)
    command = [sys.executable, "-c", PROGRAM, str(colour_bundle), str(count), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=850)
    assert done.returncode == 0, done.stderr
    predictions, resident = np.array(json.loads(done.stdout), float).T
    warm = predictions > count / 5
    slope = np.polyfit(predictions[warm], resident[warm], 1)[0]
    figure("predictions", count)
    figure("growth after warm-up, bytes a prediction", round(float(slope), 1))
    figure("resident memory at the end, MiB", round(float(resident[-1]) / 2**20, 1))
    assert slope < LIMIT_BYTES
