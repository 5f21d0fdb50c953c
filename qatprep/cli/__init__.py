"""The command line: one thin file a verb, each imported only when it is used."""
