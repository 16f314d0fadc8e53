"""Sphinx configuration: `sphinx-build -W -b html docs docs/_build/html`."""

import importlib.metadata

project = "thalweg"
author = "The thalweg developers"
release = importlib.metadata.version(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
default_role = "code"  # docstrings quote code as Markdown does
myst_heading_anchors = 3  # lets pages link to each other's headings
autodoc_member_order = "bysource"
html_theme = "alabaster"


def fences_to_directives(app, what, name, object_, options, lines):
    """Turn the fenced code blocks of a docstring into what Sphinx understands."""
    inside = False
    for index, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            inside = not inside
            language = line.strip().removeprefix("```")
            lines[index] = f"{indent(line)}.. code-block:: {language}\n" if inside else ""
        elif inside:
            lines[index] = "    " + line
    lines[:] = "\n".join(lines).split("\n")


def indent(line):
    return line[: len(line) - len(line.lstrip())]


def setup(app):
    # Before napoleon, which reads the sections of a docstring.
    app.connect("autodoc-process-docstring", fences_to_directives, priority=400)
