"""Graphs for networks whose file carries none: blocks, and one description for each family."""
