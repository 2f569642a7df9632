"""The command line. Nothing here is imported before it is needed: see `main`."""
