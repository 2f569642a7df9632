"""What a graph must be before channels-last integer kernels can be seen in it."""

from w2e_bridge.passes.legalize.legalize import Legalize
from w2e_bridge.passes.legalize.satisfy import SatisfyConstraints

__all__ = ["Legalize", "SatisfyConstraints"]
