"""Findings from what the readers beside it give: one module for each. The same ids and pages as on the node."""
