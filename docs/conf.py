"""How Sphinx builds the site: `make docs` writes it to docs/_build/html, and fails at the first fault.

Pages are Markdown (MyST), the reference comes from docstrings. Nothing is fetched from elsewhere when a page
is opened: fonts are the reader's own, scripts and styles lie beside the pages.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_site"), str(DOCS.parent)]

import perturbax  # noqa: E402

project = "perturbax"
author = "the perturbax authors"
version = release = perturbax.__version__
html_title = f"perturbax {version}"

extensions = ["sphinx.ext.autodoc", "myst_parser", "reference", "notebooks", "outside"]
exclude_patterns = [
    "_build",
    "_site",
    "README.md",
]  # README.md is the list of pages for readers of the repository
default_role = "code"
highlight_language = "text"
smartquotes = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries_show_parents = "hide"
suppress_warnings = ["myst.header"]  # some pages go from the title to headings of the third level
