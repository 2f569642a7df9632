"""Model in, model out: what happens to a model between lifting and lowering, no format named."""
