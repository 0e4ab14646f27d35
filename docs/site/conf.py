"""The documentation site: docs/*.md and the pages they link to, and the API from the docstrings. `make docs` builds it.

The source folder is the repository's root, so that a link between two pages is the same on a code forge and here.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import GoogleDocstring

import attnres_core

project = "attnres-core"
author = "The attnres-core maintainers"
version = release = attnres_core.__version__
root_doc = "docs/README"
include_patterns = ["docs/*.md", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/*.md"]
exclude_patterns = [".*", "build", "reports"]  # (folders that are not even looked through)
source_suffix = {".md": "markdown"}

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
highlight_language = "none"
add_module_names = False
maximum_signature_line_length = 140
toc_object_entries = False
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Column": "Column"}  # (else what NumPy makes of them)
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

templates_path = ["."]
html_static_path = ["_static"]
html_additional_pages = {"index": "index.html"}
html_theme = "alabaster"
html_theme_options = {
    "description": "Claims about Attention-Residual language models, decided by ablation",
    "fixed_sidebar": True,
    "page_width": "1200px",
    "body_max_width": "900px",
    "code_font_size": "0.8em",
    "sidebar_width": "240px",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


def with_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make the pages that the front page links to the site's contents, in their order: they are listed once."""
    if docname == root_doc:
        links = re.findall(r"\]\(([^)#]+)\.md[)#]", source[0])
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *dict.fromkeys(links), "```\n"])


def as_restructured_text(app: Sphinx, what: Any, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn a docstring's Markdown code and Google sections into what Sphinx reads.

    Sphinx's own extension for Google's style takes what stands before an attribute's first colon for its type, and ours
    begin with a sentence.
    """
    lines[:] = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines)).split("\n")
    if what not in {"attribute", "data", "property"}:
        lines[:] = GoogleDocstring(lines, what=what, name=name, obj=obj).lines()


def with_named_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Write a default that is a function by its name: `<function site_of>` is no Python, and would not be read."""
    return re.sub(r"<function (\w+)>", r"\1", signature) if signature else signature, returned


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_restructured_text)
    app.connect("autodoc-process-signature", with_named_defaults)
    app.connect("source-read", with_contents)
