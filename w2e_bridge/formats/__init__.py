"""What a format is, how it is found, and the bounds-checked bytes that readers and writers use."""
