"""Plain records that a model carries for deployment, and what it asks of a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Compilation hints: key to value, unknown keys kept (`shape_profiles`, `precision`, …)."""

    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Which data the quantization was made with: "bundled", "referenced", "statistics-only" or ""."""

    mode: str = ""
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Performance that a machine can check: items of metric, limit and conditions."""

    items: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """History: one event after another, oldest first."""

    events: tuple[Mapping[str, object], ...] = ()


class TokenizerLike(Protocol):
    """A tokenizer as the model sees it; `w2e_bridge.tokenizers` has the real one."""

    @property
    def missing(self) -> str | None:
        """Why there are no tokenizer files to be had, or None where there are."""

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of behaviours that the files can't say."""

    def save(self, folder: Path) -> list[str]:
        """Write `tokenizer.json`, `tokenizer_config.json` and companions; the names written."""
