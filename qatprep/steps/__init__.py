"""From facts and a configuration to typed changes, each of which can be done, read back and undone."""
