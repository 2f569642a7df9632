"""LiteRT's integer kernels as model-local functions: what each computes, in operators that ONNX Runtime has."""
