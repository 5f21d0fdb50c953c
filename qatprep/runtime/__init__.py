"""Container runtimes, as pure functions of text: which unit runs containers, its memlock, its configuration files."""
