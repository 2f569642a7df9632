"""`*_precision_config.json` of qdq-translator: scales of int8 values, and the nodes that had none and stay fp16.

Written by NVIDIA/Deep-Learning-Accelerator-SW tools/qdq-translator (`QATModelParser.parse`); its `utils.py` writes the
same numbers as the scales of a calibration cache.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from w2e_tensorrt.hints.text import Document, Said
from w2e_tensorrt.ranges import quantization

FORM = "precision_config"
SCALES, NODES = "int8_tensor_scales", "fp16_nodes"


def is_one(values: Mapping[str, object]) -> bool:
    """Whether a JSON object is of this kind."""
    return SCALES in values


def read(document: Document) -> Said:
    """Scales of values and precisions of layers.

    Raises:
        FormatError: what should be a number or a name is none.
    """
    scales = document.mapping(SCALES)
    activations = {name: quantization(_scale(scales, name)) for name in scales.values}
    layers = dict.fromkeys(document.names(NODES), "fp16")
    return Said(
        form=FORM, hints={"layer_precisions": layers} if layers else {}, activations=activations
    )


def _scale(scales: Document, name: str) -> np.float32:
    value = scales.values[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise scales.error(name[:60], f"expected a scale, found {str(value)[:40]!r}")
    try:
        with np.errstate(over="ignore"):
            return np.float32(float(value))
    except OverflowError as error:
        raise scales.error(name[:60], "the scale is out of range") from error
