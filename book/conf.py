"""Sphinx: the book as HTML, from the notebooks' committed outputs. `make html` builds it; nothing is fetched."""

from pathlib import Path

import jupyter_server_mathjax

project = "Context-LSTM on UCF101, rebuilt and checked"
author = "The authors of the Context-LSTM book"
copyright = "text and figures CC BY 4.0, code BSD-3-Clause"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "book.tools.webpages"]
exclude_patterns = ["_build", "**.ipynb_checkpoints", "**.py"]
nb_execution_mode = "off"  # what is shown is what `make render` left in the notebooks
nb_merge_streams = True
nb_ipywidgets_js = {}  # widgets live in JupyterLab; the page shows the figure below each
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
nitpicky = True

# The package's pages come from its docstrings (book/api.md).
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "code"  # what stands in single backticks in a docstring
nitpick_ignore_regex = [("py:.*", ".*")]  # types of PyTorch, NumPy and pandas have no page here

# MathJax 2 as one of JupyterLab's own packages brings it along: equations need no network.
html_static_path = ["_static", str(Path(jupyter_server_mathjax.__file__).parent / "static")]
mathjax_path = "MathJax.js"
mathjax2_config = {
    "config": ["TeX-AMS-MML_HTMLorMML-full.js"],
    "tex2jax": {
        "inlineMath": [["\\(", "\\)"]],
        "displayMath": [["\\[", "\\]"]],
        "ignoreClass": "document",
        "processClass": "math|output_area",
    },
    "HTML-CSS": {
        "availableFonts": [],
        "webFont": "STIX-Web",  # the fonts that come along
        "imageFont": None,
        "minScaleAdjust": 100,
        # MathJax's own default is a font at about:blank, which browsers report as an error
        "styles": {"@font-face": {"font-family": "MathJax_Blank", "src": "local('sans-serif')"}},
    },
    "showMathMenu": False,
}
myst_update_mathjax = False

html_theme = "sphinx_book_theme"
html_title = "Context-LSTM"
html_show_sphinx = False
html_context = {"default_mode": "light"}
html_css_files = ["book.css"]
html_logo = html_favicon = "_static/logo.svg"
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
    "navbar_start": [],
    "navbar_center": [],
    "navbar_end": [],
    "navbar_persistent": [],
    "logo": {"text": "Context-LSTM"},
    "extra_footer": "Text and figures: CC BY 4.0. Code: BSD-3-Clause.",
}
