"""How a graph uses each of its weights: what decides which forms a target may hold it in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from w2e_bridge.negotiation.profile import Role

if TYPE_CHECKING:
    import onnx_ir as ir


def roles_of(model: ir.Model) -> dict[str, frozenset[Role]]:
    """The roles of every weight that the graph uses, by tensor name.

    A weight in several places has several roles (a tied embedding is gathered and multiplied).
    """
    from w2e_bridge.graph.weights import weights_of

    return {
        name: frozenset(_role(node, index) for node, index in value.uses())
        for name, value in weights_of(model.graph)
        if value.uses()
    }


def multiplied(model: ir.Model) -> dict[str, bool]:
    """Weights that are nothing but the second operand of products and convolutions.

    Returns:
        By tensor name, whether each index of the first axis is an output of its own everywhere.
    """
    from w2e_bridge.graph.weights import weights_of

    found = {}
    for name, value in weights_of(model.graph):
        places = [_outputs_first(node, index) for node, index in value.uses()]
        if places and None not in places:
            found[name] = all(places)
    return found


def _outputs_first(node: ir.Node, index: int) -> bool | None:
    """Whether a weight's first axis is that of the outputs, None where it is no weight."""
    match node.op_type, index:
        case "Transpose", 0 if _matrix_transpose(node) and _only_multiplied(node):
            return True
        case "Conv", 1:
            return True
        case "Gemm", 1:
            transposed = node.attributes.get("transB")
            return transposed is not None and transposed.as_int() == 1
        case (("ConvTranspose" | "MatMul"), 1):
            return False
        case _:
            return None


def _role(node: ir.Node, index: int) -> Role:
    match node.op_type, index:
        case "Gather", 0:
            axis = node.attributes.get("axis")
            return Role.EMBEDDING if axis is None or axis.as_int() == 0 else Role.OTHER
        case "Transpose", 0 if _matrix_transpose(node) and _only_multiplied(node):
            return Role.MATMUL
        case "Conv", 1:
            return Role.CONV
        case (("Conv" | "Gemm"), 2):
            return Role.BIAS
        case _:
            return Role.OTHER


def _matrix_transpose(node: ir.Node) -> bool:
    permutation = node.attributes.get("perm")
    return permutation is not None and list(permutation.as_ints()) == [1, 0]


def _only_multiplied(node: ir.Node) -> bool:
    """Whether all that happens to a transposed weight is to be the second operand of MatMul."""
    uses = list(node.outputs[0].uses())
    return bool(uses) and all(user.op_type == "MatMul" and place == 1 for user, place in uses)
