"""The report of a node: one page that can be sent to somebody, as HTML or as Markdown.

content.py says what is in it, from the same assessment and outcome as doctor's. html.py and markdown.py say how it
looks, and escape every text that is not their own.
"""
