"""How the documentation is built: ``python -m sphinx -W --keep-going -b html doc doc/_build/html``.

Nothing is fetched: equations become MathML, which browsers draw, and links to other projects come
from the tables in ``inventories``.
"""

import os

import matplotlib
from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

import skdeepcluster

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the gallery, which fits small networks
matplotlib.use("agg")

project = "skdeepcluster"
author = copyright = "the skdeepcluster developers"
version = release = skdeepcluster.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "matplotlib.sphinxext.plot_directive",
]
plot_html_show_source_link = False
plot_formats = ["png"]
exclude_patterns = ["_build", "_templates", "examples", "inventories"]
templates_path = ["_templates"]
nitpicky = True

autodoc_typehints = "none"  # types stand in the docstrings
autosummary_generate = True
numpydoc_show_class_members = False

# Names of other projects that these pages link to, a line each. The tables are read from here and
# not from the projects' sites, so that the build needs no network and is the same everywhere.
intersphinx_mapping = {
    name: (site, f"inventories/{name}.inv")
    for name, site in {
        "matplotlib": "https://matplotlib.org/stable",
        "python": "https://docs.python.org/3",
        "sklearn": "https://scikit-learn.org/stable",
        "skorch": "https://skorch.readthedocs.io/en/stable",
        "torch": "https://docs.pytorch.org/docs/stable",
    }.items()
}

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": None,
    "within_subsection_order": "FileNameSortKey",
    "show_memory": False,
    "download_all_examples": False,
    "capture_repr": (),
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_title = f"skdeepcluster {release}"
html_theme_options = {
    "logo": {"text": project},
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"api": [], "getting_started": [], "genindex": [], "py-modindex": []}
html_math_renderer = "mathml"


def _mathml(node, *, as_block):
    equation = tex2mathml(node.astext(), as_block=as_block)
    return equation.replace(">‖<", ' stretchy="false">‖<')  # bars of a norm are of one height


def _inline_math(translator, node):
    translator.body.append(_mathml(node, as_block=False))
    raise SkipNode


def _display_math(translator, node):
    translator.body.append(f'<div class="equation">{_mathml(node, as_block=True)}</div>\n')
    raise SkipNode


def setup(app):
    """Add what draws equations."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))
