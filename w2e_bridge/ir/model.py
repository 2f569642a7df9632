"""The canonical model: everything a file says of one network, in no format's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from w2e_bridge.ir.activation import ActivationQuantization, KVQuantization
from w2e_bridge.ir.architecture import Architecture
from w2e_bridge.ir.records import Calibration, Contract, Hints, Lineage
from w2e_bridge.ir.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir

    from w2e_bridge.ir.records import TokenizerLike

MetadataValue = str | int | float | bool | tuple[str, ...] | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a model was read from.

    Attributes:
        format: name of the format.
        path: the file or folder, as the user named it.
        nbytes: bytes of all its files.
        before: what those files were made from themselves, where they say so (the canonical file does).
    """

    format: str
    path: str
    nbytes: int = 0
    before: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something of the source that was not carried into the canonical model, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """One network.

    Attributes:
        tensors: name to tensor, in execution order.
        graph: the computation in ONNX's own language without weights (an initializer carries name,
            type and shape; its data is `tensors[name]`), or None where the source carries none. It is
            mutable and owned by this model: a pass that edits works on a copy.
        activations: graph value name to its quantization.
        kv: quantization of the key/value cache.
        numerics: whose rounding the source promises: "float", "litert", "litert-reference", "ort".
        architecture: hyper-parameters and tensor roles, where the source has them.
        tokenizer: vocabulary and rules.
        metadata: what else the source says, under the source's own keys.
        hints, calibration, contract, lineage: what deployment needs.
        components: further networks of the same file (a draft, an encoder), by name.
        kind: what the file holds: "model", "vocabulary", "imatrix", "adapter", "projector"; only a model
            can be lowered to a target that runs it.
        origin: where it was read from.
        remarks: what was left behind on reading; they become rows of the report's `ignored`.
    """

    tensors: Mapping[str, Tensor]
    graph: onnx_ir.Model | None = None
    activations: Mapping[str, ActivationQuantization] = field(default_factory=dict)
    kv: tuple[KVQuantization, ...] = ()
    numerics: str = "float"
    architecture: Architecture | None = None
    tokenizer: TokenizerLike | None = None
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    hints: Hints = field(default_factory=Hints)
    calibration: Calibration = field(default_factory=Calibration)
    contract: Contract = field(default_factory=Contract)
    lineage: Lineage = field(default_factory=Lineage)
    components: Mapping[str, Model] = field(default_factory=dict)
    kind: str = "model"
    origin: Origin | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as they are stored."""
        return sum(tensor.nbytes for tensor in self.tensors.values())
