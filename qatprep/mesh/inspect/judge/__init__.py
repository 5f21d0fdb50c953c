"""Findings from what the readers next to it give: one module for each. The same ids and pages as on the node."""
