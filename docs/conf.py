"""Sphinx: the stock theme, and tables that are made from the code (see tables.py beside this)."""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
sys.path[:0] = [str(CHECKOUT / "docs"), str(CHECKOUT), str(CHECKOUT / "tests" / "interop")]

from kcpstack import __version__

project = "kcpstack"
author = "The kcpstack authors"
copyright = f"2026, {author}"
version = release = __version__
extensions = ["sphinx.ext.autodoc", "tables"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {
    "description": "kcptun as a stack of interchangeable Twisted layers",
    "page_width": "1200px",  # the tables of options have five columns
}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
autodoc_member_order = "bysource"
smartquotes = False  # it would make one dash of the two in front of an option
