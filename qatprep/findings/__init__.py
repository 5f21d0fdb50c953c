"""The one shape of a judgement, and the pages that explain each."""
