"""Facts judged: every check has a stable id, words, and what it depends on."""
