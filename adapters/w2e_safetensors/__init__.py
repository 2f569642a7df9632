"""Safetensors: the canonical file `w2e`, a valid safetensors file that keeps a model as it is."""

from __future__ import annotations

from w2e_bridge.formats.spec import Format

FORMAT = Format(
    name="w2e",
    title="w2e canonical file (safetensors)",
    suffixes=(".w2e.safetensors", ".safetensors"),
    # A file of ours that another program wrote again may begin otherwise: then its name decides.
    magic=((8, b'{"__metadata__":{"format":"pt","w2e.manifest":'),),
    lift="w2e_safetensors.read:lift",
    lower="w2e_safetensors.write:lower",
    profiles="w2e_safetensors.profiles:profiles",
    accepts="w2e_safetensors.folder:accepts",
    docs="https://github.com/huggingface/safetensors#format",
)
