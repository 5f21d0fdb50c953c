"""What is to be done: plans of changes for a node, its PFs and single functions."""
