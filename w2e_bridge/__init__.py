"""w2e-bridge: one canonical model between the formats that models are stored and run in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from w2e_bridge.api import compare, convert, open

__version__ = "0.1.0"
__all__ = ["compare", "convert", "open"]


def __getattr__(name: str) -> object:
    # The command line's start-up must not pay for numpy and onnx, so the interface loads on first use.
    if name in __all__:
        from w2e_bridge import api

        return getattr(api, name)
    raise AttributeError(f"module 'w2e_bridge' has no attribute '{name}'")
