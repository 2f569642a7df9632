"""The blocks of ggml's types: bytes to codes, scales and offsets, and back."""
