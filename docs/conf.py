"""Sphinx configuration: `sphinx-build -W -b html docs docs/_build/html`."""

import importlib.metadata

project = "thalweg"
author = "The thalweg developers"
release = importlib.metadata.version(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3  # lets pages link to each other's headings
autodoc_member_order = "bysource"
html_theme = "alabaster"
