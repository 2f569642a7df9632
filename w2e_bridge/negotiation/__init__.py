"""What a target can hold, as data, and how each tensor of a model gets there at which grade."""
