"""What is to be done: facts and a configuration (or a verb's arguments) become plans of changes."""
