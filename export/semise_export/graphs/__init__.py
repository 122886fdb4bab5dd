"""The graphs: from a trained network to ONNX, its other precisions and TensorRT engines."""
