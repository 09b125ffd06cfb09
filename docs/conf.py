"""How Sphinx builds the documentation site: ``python -m pip install ".[docs]" && python -m sphinx -W docs site``."""

import shutil
import sys
import tomllib
from pathlib import Path

import matplotlib

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]  # this folder's fastbp is documented, whichever is installed

from site_parts import inventories, links, members, programs  # noqa: E402

import fastbp  # noqa: E402

matplotlib.use("agg")

_project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
forge = _project["urls"]["Source"]

# ---- The project -----------------------------------------------------------------------------------------------------

project = "fastbp"
author = copyright = "the fastbp developers"
version = release = fastbp.__version__

extensions = [
    "myst_parser",  # the pages in Markdown
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_programs", "guides/README.rst", "guides/*.py", "site_parts"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
templates_path = ["_templates"]
default_role = "py:obj"  # numpydoc's single backticks are names of Python, and links where they are known
suppress_warnings = ["config.cache"]  # functions in the settings below cannot be kept between two builds

# ---- Names and their pages -------------------------------------------------------------------------------------------

autosummary_context = {
    "own_methods": members.own_methods,
    "own_attributes": members.own_attributes,
    "shown_name": members.shown_name,
}
autodoc_typehints = "none"  # numpydoc's Parameters say more
autodoc_member_order = "bysource"
numpydoc_show_class_members = False  # the templates list them, each with a page of its own
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"  # words of a type that have no page are words
intersphinx_mapping = inventories.mapping(DOCS / "_build" / "inventories")
intersphinx_timeout = 5
intersphinx_disabled_reftypes = []  # none: labels of other sites are links as well, which they are not by default


def linkcode_resolve(domain, info):
    """Return the address of a name's source, or None."""
    return members.source_of(info, forge, ROOT) if domain == "py" else None


# ---- Programs --------------------------------------------------------------------------------------------------------

_programs, _pictures = DOCS / "_programs", DOCS / "_build" / "pictures"
shutil.rmtree(DOCS / "api" / "generated", ignore_errors=True)  # a name that is gone would keep its page
programs.copy_examples(ROOT / "examples", _programs)
sphinx_gallery_conf = {
    "examples_dirs": [str(DOCS / "guides"), str(_programs)],
    "gallery_dirs": ["auto_guides", "auto_examples"],
    "filename_pattern": r"/\d\d_",
    "ignore_pattern": r"__init__\.py|make_pictures\.py",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": (programs.SavedPictures(_pictures), "matplotlib"),
    "reset_argv": programs.Arguments(_pictures),
    "matplotlib_animations": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "copyfile_regex": r".*\.(py|npz)",
    "doc_module": ("fastbp",),
    "reference_url": {"fastbp": None},
    "backreferences_dir": "api/backreferences",
    "prefer_full_module": {r"fastbp\..*"},
    "default_thumb_file": str(DOCS / "_static" / "logo.svg"),
    "min_reported_time": 10,
    "first_notebook_cell": programs.FIRST_CELL,
    "last_notebook_cell": programs.LAST_CELL,
    "abort_on_example_error": True,
}

# ---- Pages -----------------------------------------------------------------------------------------------------------

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 4

html_theme = "pydata_sphinx_theme"
html_title = f"fastbp {release}"
html_static_path = ["_static"]
html_css_files = ["fastbp.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "github_url": forge,
    "logo": {"text": "fastbp"},
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc", "sg_download_links"],
}
html_sidebars = {"index": []}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is


def setup(app):
    """Add what is between the pages in the repository and those of the site."""
    app.connect("source-read", links.Rewriter(ROOT, forge))
    app.connect("autodoc-process-signature", members.signature_to_show)
    app.connect("build-finished", _tidy)


def _tidy(app, error):
    shutil.rmtree(_pictures, ignore_errors=True)
