"""The canonical graph's language is ONNX: weight-less initializers, serialization, Q/DQ folding."""
