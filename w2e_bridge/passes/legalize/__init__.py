"""What a graph must be before channels-last integer kernels can be seen in it."""

from w2e_bridge.passes.legalize.satisfy import SatisfyConstraints

__all__ = ["SatisfyConstraints"]
