"""For tests of this project and of third-party adapters: a zoo of models and a conformance suite."""
