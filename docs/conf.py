"""The documentation site: ``make docs`` builds it, warnings are errors; the tutorial is executed."""

import logging
from importlib.metadata import version as installed_version

project = "lls_decode"
author = "the lls_decode developers"
copyright = f"2026, {author}"
version = release = installed_version("lls-decode")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
exclude_patterns = ["_build", "howto/examples"]
html_theme = "furo"
html_title = "lls_decode"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # README sections begin where they like

nb_execution_mode = "cache"
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_typehints = "none"  # signatures carry them; descriptions give shapes and units
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"  # single backquotes name things

intersphinx_mapping: dict[str, tuple[str, None]] = {}
"""Empty on purpose: the site builds without a network."""

logging.getLogger("distributed").setLevel(logging.ERROR)
