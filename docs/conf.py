"""Sphinx: the documentation as a site, built by `./run check`; it loads nothing from elsewhere."""

from importlib.metadata import version as version_of

project = "Keyturn"
version = release = version_of("keyturn")
html_title = f"Keyturn {version}"
extensions = ["myst_parser", "sphinx_click"]
myst_heading_anchors = 4
html_theme = "furo"
html_show_sphinx = False
html_show_copyright = False
exclude_patterns = ["conf.py"]
