"""GGUF: the files of llama.cpp and everything built on ggml."""

from w2e_bridge.formats.spec import Format

FORMAT = Format(
    name="gguf",
    title="GGUF (llama.cpp)",
    suffixes=(".gguf",),
    magic=((0, b"GGUF"),),
    lift="w2e_gguf.read:lift",
    lower="w2e_gguf.write:lower",
    profiles="w2e_gguf.profiles:profiles",
    encodings="w2e_gguf.profiles:encodings",
    docs="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md",
)
