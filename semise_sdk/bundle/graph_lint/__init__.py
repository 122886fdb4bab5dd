"""The rules for an ONNX graph, checked in its bytes before any engine parses it."""
