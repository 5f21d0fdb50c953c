"""A host that reacts: a recorded tree with a model of the kernel behind its attributes."""
