"""From facts and a wish to typed changes, each of which can be done, read back and undone."""
