"""The longer training text of the deeper checkpoints: the corpus, more docstrings, and documents that packages ship.

More docstrings are those of packages that the extras `dev` and `docs` install; documents are READMEs (the descriptions
that packages are published with) and `.rst` and `.md` files. The corpus stays as it is, and so does what it holds out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata

from tqdm import tqdm

from attnres_core.prompts import load_prompts
from attnres_core.shipped import reference_prompts
from attnres_core.training import corpus
from attnres_core.training.corpus import HELD_OUT_SHARE, MAX_OVERLAP, MIN_CHARACTERS, Corpus, Document, shingles

MORE = (
    *("anyio", "attr", "babel", "beartype", "click", "datasets", "dateutil", "dill", "distlib", "docutils"),
    *("filelock", "formulaic", "httpcore2", "httpx2", "hypothesis", "jinja2", "jsonschema", "markdown_it"),
    *("mdit_py_plugins", "mypy", "myst_parser", "packaging", "pathspec", "patsy", "platformdirs", "playwright"),
    *("psutil", "pyarrow", "pydantic", "pydantic_core", "pygments", "ray", "requests", "rich", "safetensors"),
    *("sortedcontainers", "sphinx", "tokenizers", "tqdm", "typer", "urllib3", "virtualenv", "wrapt"),
)
"""Packages beside the corpus's own; none whose docstrings are prompts that no checkpoint has read (`unseen`)."""
_DISTRIBUTIONS = {"attr": "attrs", "dateutil": "python-dateutil", "markdown_it": "markdown-it-py"}
"""What is installed under another name than it is imported by."""
_KEPT_OUT = ("unseen", "variants")
"""Shipped prompt sets that nothing trained here may have read."""


def build(known: Corpus) -> Corpus:
    """The corpus, `known`, with more to train on.

    Raises:
        ModuleNotFoundError: a package is not installed.
    """
    prompts = (prompt.text for name in _KEPT_OUT for prompt in load_prompts(reference_prompts(name)).prompts)
    return extended(known, _more(), list(prompts))


def sources() -> list[dict[str, str]]:
    """Name, version and licence of every package that the text comes from."""
    return corpus.sources([*corpus.PACKAGES, *(_DISTRIBUTIONS.get(name, name) for name in MORE)])


def _more() -> Iterator[Document]:
    for package in tqdm([*corpus.PACKAGES, *MORE], desc="reading more text", unit=" packages", disable=None):
        if package in MORE:
            yield from corpus.docstrings(package)
        if package != "stdlib":
            yield from shipped_documents(package)


def shipped_documents(package: str) -> Iterator[Document]:
    """A package's README, and the `.rst` and `.md` files in its folder, in path order; no licences."""
    readme = metadata.metadata(_DISTRIBUTIONS.get(package, package)).json.get("description")
    if isinstance(readme, str) and len(readme) >= MIN_CHARACTERS:
        yield Document(f"{package}:README", package, readme.strip())
    root = corpus.package_root(package)
    for path in sorted(path for ending in ("rst", "md") for path in root.rglob(f"*.{ending}")):
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        if "license" not in path.name.lower() and "site-packages" not in path.relative_to(root).parts:
            if len(text) >= MIN_CHARACTERS:
                yield Document(f"{package}:{path.relative_to(root).as_posix()}", package, text)


def extended(known: Corpus, documents: Iterable[Document], kept_out: Sequence[str] = ()) -> Corpus:
    """A corpus with more documents to train on, and the same held out.

    Left out is a document whose hash holds it out; that shares more than a quarter of its runs of eight words with what
    is trained on already; or that is a near-duplicate of a held-out document or of a text in `kept_out`: of all of it,
    or of a part, for a long document may hold a short one whole.
    """
    protected = [shingles(text) for text in (*(document.text for document in known.held_out), *kept_out)]
    holders = defaultdict[int, list[int]](list)
    for index, marks in enumerate(protected):
        for mark in marks:
            holders[mark].append(index)
    seen = {mark for document in known.train for mark in shingles(document.text)}
    train, cut = list(known.train), f"{int(HELD_OUT_SHARE * 16**8):08x}"
    for document in sorted(documents, key=lambda document: document.digest):
        marks = shingles(document.text)
        parts = Counter(index for mark in marks for index in holders.get(mark, ()))
        repeats = any(shared > MAX_OVERLAP * len(protected[index]) for index, shared in parts.items())
        repeats |= sum(mark in holders for mark in marks) > MAX_OVERLAP * len(marks)
        if document.digest[:8] < cut or repeats or len(marks & seen) > MAX_OVERLAP * len(marks):
            continue
        train.append(document)
        seen |= marks
    return Corpus(tuple(sorted(train, key=lambda document: document.digest)), known.held_out)
