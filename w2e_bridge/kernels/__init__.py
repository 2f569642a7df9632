"""Operations as channels-last integer runtimes have them, and the pairs that tie each to standard ONNX nodes."""
