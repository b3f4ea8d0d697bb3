"""Sphinx configuration."""

from importlib.metadata import version as _version

project = "spiritsafe"
author = "The spiritsafe authors"
copyright = "2026, the spiritsafe authors"
release = _version("spiritsafe")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "spiritsafe"
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
nitpicky = False
