"""From a canonical model to what TensorRT's explicit quantization accepts: one step, one module."""
