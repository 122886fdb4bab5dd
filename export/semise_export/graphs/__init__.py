"""From a trained network to ONNX graphs, their other precisions and TensorRT engines."""
