"""The canonical model: tensors with encodings, activation quantization, graph, architecture."""
