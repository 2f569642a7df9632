"""GGUF: the files of llama.cpp and everything built on ggml."""
