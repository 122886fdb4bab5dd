"""fp16 graphs: the fp32 ones with every weight and every operation in half precision, written in their types."""

import onnx

from semise_export.graphs.onnx import save_graph


def half_graph(content: bytes, name: str) -> bytes:
    """Returns an fp32 graph in fp16: inputs and outputs keep their types, everything between is half precision.

    The cast is made after the exporter has folded each normalisation into its convolution, so every weight is rounded
    once. A strongly typed runtime (TensorRT 11, TensorRT for RTX) then computes in fp16 because the graph says so.

    Args:
        content: The fp32 ONNX.
        name: What the graph is called inside of its file.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    # An empty block list: the default one leaves Resize in fp32, and with it casts inside of the decoder.
    converted = convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True, op_block_list=[])
    OnnxModel(converted).topological_sort()  # the converter appends its casts at the end
    return save_graph(converted, name)
