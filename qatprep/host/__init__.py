"""The one door to a machine: a Linux host below any root, a capture of one, or a simulated one that reacts."""
