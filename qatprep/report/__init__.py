"""How things look, for people (rich) and for machines (JSON). Nothing else in qatprep imports rich."""
