import subprocess
import sys

import onnx.parser

from semise_sdk.backends import Graph, open_graph

OFFLINE = """
import socket, sys, threading

def refuse(*arguments, **_):
    print("NETWORK", arguments)
    raise OSError("no network in this test")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
from semise_sdk.backends.openvino import devices
print(devices())
print("openvino" in sys.modules, "openvino_telemetry" in sys.modules)
import openvino_telemetry
print([thread.name for thread in threading.enumerate()])
"""

# Every weight is a third: in bf16 it is off by a thousandth.
THIRDS = """
<ir_version: 8, opset_import: ["" : 18]>
encoder (uint8[N,1,1,3] pixels) => (float[N,64] embedding)
<int64[2] shape = {-1, 3}, float[1] third = {0.33333334}, int64[2] wide = {3, 64}>
{
    floats = Cast<to = 1>(pixels)
    rows = Reshape(floats, shape)
    weights = Expand(third, wide)
    embedding = MatMul(rows, weights)
}
"""


def test_openvino_is_imported_without_its_telemetry_which_stays_importable_for_others():
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["('cpu',)", "True False", "['MainThread']"]


def test_an_fp32_graph_is_computed_in_fp32():
    import numpy as np

    content = onnx.parser.parse_model(THIRDS).SerializeToString()
    backend = open_graph(Graph(name="encoder", content=lambda: content), backend="openvino")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 1, 1, 3), dtype=np.uint8)
    expected = np.repeat(pixels.reshape(64, 3).sum(axis=1, dtype=np.float32)[:, None] / 3, 64, axis=1)
    np.testing.assert_allclose(backend.run({"pixels": pixels})["embedding"], expected, rtol=1e-6)
    backend.close()
