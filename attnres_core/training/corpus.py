"""The training text: docstrings of packages that this project installs anyway.

One docstring is one document and its package is its stratum. Documents are split by a hash of their text; whatever
in the training split repeats a held-out document is removed, so that held-out loss is not memory.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

PACKAGES = ("stdlib", "numpy", "scipy", "statsmodels", "pandas", "torch", "transformers")
MIN_CHARACTERS = 80
"""Shorter docstrings ("See base class.") say nothing and repeat endlessly."""
HELD_OUT_SHARE = 0.08
SHINGLE = 8
"""Words in a shingle, the unit of near-duplicate detection."""
MAX_OVERLAP = 0.25
"""A document sharing more than this share of its shingles with the other split counts as a near-duplicate."""


@dataclass(frozen=True, slots=True)
class Document:
    """One docstring."""

    name: str
    """`package:path/in/package.py:qualified.name`."""
    package: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Corpus:
    """Both splits, in a fixed order."""

    train: tuple[Document, ...]
    held_out: tuple[Document, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the documents' digests, split by split."""
        both = [*(d.digest for d in self.train), "|", *(d.digest for d in self.held_out)]
        return hashlib.sha256("".join(both).encode()).hexdigest()


def package_root(package: str) -> Path:
    """The folder that holds a package's source."""
    if package == "stdlib":
        return Path(sysconfig.get_path("stdlib"))
    spec = util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the corpus needs `{package}`; install this project with its dependencies")
    return Path(spec.origin).parent


def sources(packages: Iterable[str] = PACKAGES) -> list[dict[str, str]]:
    """Name, version and licence of every package the text comes from, for the manifests."""
    rows = []
    for package in packages:
        if package == "stdlib":
            rows.append({"package": "stdlib", "version": sys.version.split()[0], "licence": "PSF-2.0"})
            continue
        about = metadata.metadata(package).json
        licence = str(about.get("license_expression") or about.get("license") or "")
        named = [entry.rsplit(" :: ", 1)[-1] for entry in about.get("classifier", ()) if entry.startswith("License ::")]
        if named and (not licence or len(licence) > 80):  # some packages put the whole text there
            licence = named[0]
        rows.append(
            {"package": package, "version": metadata.version(package), "licence": licence.strip().split("\n")[0]}
        )
    return rows


def docstrings(package: str) -> Iterator[Document]:
    """Every docstring of a package, in path order."""
    root = package_root(package)
    skip = {"site-packages", "test", "tests", "testing", "__pycache__", "lib2to3", "idlelib"}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if skip & set(relative.parts):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):  # templates and deliberately broken examples
            continue
        yield from _of_node(tree, package, relative.as_posix(), "")


def _of_node(node: ast.AST, package: str, path: str, name: str) -> Iterator[Document]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if isinstance(node, documented):
        text = ast.get_docstring(node, clean=True)
        if text and len(text) >= MIN_CHARACTERS:
            yield Document(f"{package}:{path}:{name}", package, inspect.cleandoc(text))
    for child in ast.iter_child_nodes(node):
        inner = getattr(child, "name", None) if isinstance(child, documented) else None
        yield from _of_node(child, package, path, ".".join(filter(None, (name, inner))))


def shingles(text: str) -> set[int]:
    """Hashes of the text's runs of `SHINGLE` words; a shorter text is one shingle."""
    words = text.lower().split()
    runs = (" ".join(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)))
    return {int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs}


def build() -> Corpus:
    """Both splits of every package's docstrings."""
    return split_documents(document for package in PACKAGES for document in docstrings(package))


def split_documents(documents: Iterable[Document]) -> Corpus:
    """Both splits, without near-duplicates across the split or within the held-out documents."""
    unique: dict[str, Document] = {}
    for document in documents:
        unique.setdefault(document.digest, document)
    ordered = sorted(unique.values(), key=lambda document: document.digest)
    cut = f"{int(HELD_OUT_SHARE * 16**8):08x}"
    candidates = [document for document in ordered if document.digest[:8] < cut]
    held_out, seen = [], set[int]()
    for document in candidates:
        marks = shingles(document.text)
        if len(marks & seen) <= MAX_OVERLAP * len(marks):
            held_out.append(document)
            seen |= marks
    train = []
    for document in ordered[len(candidates) :]:
        marks = shingles(document.text)
        if len(marks & seen) <= MAX_OVERLAP * len(marks):
            train.append(document)
    # The other direction: a long training document may swallow a short held-out one whole.
    known = set().union(*(shingles(document.text) for document in train))
    clean = []
    for document in held_out:
        marks = shingles(document.text)
        if len(marks & known) <= MAX_OVERLAP * len(marks):
            clean.append(document)
    return Corpus(tuple(train), tuple(clean))
