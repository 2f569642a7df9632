"""Pure array functions: no model, no file."""
