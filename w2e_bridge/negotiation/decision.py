"""What negotiation decided, tensor by tensor: the hand-over to a writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import TensorLoss
from w2e_bridge.negotiation.profile import Form, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How one tensor is held by the target.

    Attributes:
        tensor: the tensor already in the form's encoding: a computation over the source's chunks (or
            the source's own tensor where nothing changes). The writer only packs it.
        source: how the source stores it.
        form: the form of the profile.
        roles: how the graph uses it.
        loss: the row of the report.
    """

    tensor: Tensor
    source: Encoding
    form: Form
    roles: frozenset[Role]
    loss: TensorLoss


Decisions = Mapping[str, Decision]
"""Name of a tensor (as in the source) to what was decided."""
