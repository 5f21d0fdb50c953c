"""How Sphinx makes the site; packaging/docs_site.py gathers the pages and calls it."""

project = "qatprep"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["images/README.md"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block"]
highlight_language = "none"
nitpicky = True
html_theme = "furo"
html_title = "qatprep"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_extra_path = ["alerts.yaml", "grafana.json", "ci-workflow.yaml"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
