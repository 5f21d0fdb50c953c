"""What a change is: what it makes different and at what cost, how it is done, read back and undone."""
