"""What a pass is: from a model to another, with a contract that is checked in one place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence as Steps
from dataclasses import dataclass, replace
from typing import final

from w2e_bridge.errors import BridgeError, DefectError
from w2e_bridge.ir.model import Model, Remark
from w2e_bridge.loss import TensorLoss


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PassResult:
    """What a pass did.

    Attributes:
        model: the new model, or the one that was given where there was nothing to do.
        remarks: what was left behind, for the report.
        losses: what became of tensors that the pass wrote anew.
    """

    model: Model
    remarks: tuple[Remark, ...] = ()
    losses: tuple[TensorLoss, ...] = ()


class Pass(ABC):
    """A step from a model to another.

    A subclass writes `run`, and `requires` and `ensures` where it has conditions. Its docstring says
    *before*, *after* and *why exact*. The model that it is given stays as it was: what changes is made
    anew by `replace`, and a graph is edited on a copy (`owned`).
    """

    @property
    def name(self) -> str:
        """For messages."""
        return type(self).__name__

    def requires(self, model: Model) -> str | None:
        """What is wrong with a model that the pass can't be given, or None."""
        del model
        return None

    @abstractmethod
    def run(self, model: Model) -> PassResult:
        """The pass itself."""

    def ensures(self, model: Model) -> str | None:
        """What is wrong with the pass's own result, or None."""
        del model
        return None

    @final
    def __call__(self, model: Model) -> PassResult:
        """Run the pass with its conditions checked.

        Raises:
            BridgeError: as the pass raises it.
            DefectError: a condition does not hold, the given model was changed, or the pass failed.
        """
        if problem := self.requires(model):
            raise self._defect(problem)
        graph = model.graph
        before = None if graph is None else len(graph.graph)
        try:
            result = self.run(model)
        except BridgeError:
            raise  # a line for the user, with the file in it
        except Exception as error:
            raise self._defect(f"{type(error).__name__}: {error}") from error
        if graph is not None and len(graph.graph) != before:
            raise self._defect("it changed the graph that it was given")
        if problem := self.ensures(result.model):
            raise self._defect(problem)
        return result

    def _defect(self, problem: str) -> DefectError:
        return DefectError(f"internal defect, please report: pass {self.name}: {problem}")


def owned(model: Model) -> Model:
    """The same model with a graph of its own to edit."""
    return model if model.graph is None else replace(model, graph=model.graph.clone())


class Sequence(Pass):
    """Passes one after another, itself a pass."""

    def __init__(self, steps: Steps[Pass]) -> None:
        self.steps = tuple(steps)

    @property
    def name(self) -> str:
        """All names in order."""
        return " → ".join(step.name for step in self.steps) or "nothing"

    def run(self, model: Model) -> PassResult:
        """Each pass on the result of the one before."""
        remarks: list[Remark] = []
        losses: list[TensorLoss] = []
        for step in self.steps:
            result = step(model)
            model = result.model
            remarks += result.remarks
            losses += result.losses
        return PassResult(model=model, remarks=tuple(remarks), losses=tuple(losses))
