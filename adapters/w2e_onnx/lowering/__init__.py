"""From the canonical graph to what ONNX Runtime's CPU provider runs fast, one subject a file."""
