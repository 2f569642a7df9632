"""Readers of the files that stand around a TensorRT model: what they say becomes hints of the canonical model."""
