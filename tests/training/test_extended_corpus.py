"""The longer text: the corpus stays as it is, and what it holds out is nowhere in what is added."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from attnres_core.shipped import reference_prompts
from attnres_core.training import extended_corpus, train
from attnres_core.training.corpus import HELD_OUT_SHARE, PACKAGES, Corpus, Document
from attnres_core.training.unseen import UNSEEN


def words(start: int, count: int) -> str:
    return " ".join(f"word{index}" for index in range(start, start + count))


def document(text: str, *, held_out: bool = False) -> Document:
    """A document of this text; blank lines at its end steer the hash into the wanted split."""
    for blanks in itertools.count():
        found = Document("package:README", "package", text + "\n" * blanks)
        if (int(found.digest[:8], 16) < int(HELD_OUT_SHARE * 16**8)) is held_out:
            return found
    raise AssertionError


KNOWN = Corpus((document(words(0, 40)),), (document(words(1000, 20), held_out=True),))
PROMPT = words(2000, 20)


def added(*documents: Document) -> Iterable[Document]:
    found = extended_corpus.extended(KNOWN, documents, [PROMPT])
    assert found.held_out == KNOWN.held_out
    assert set(KNOWN.train) <= set(found.train)
    return set(found.train) - set(KNOWN.train)


def test_a_new_document_is_added_and_one_that_its_hash_holds_out_is_not() -> None:
    new = document(words(5000, 40))
    assert added(new, document(words(6000, 40), held_out=True)) == {new}


@pytest.mark.parametrize(
    "text",
    [
        words(1000, 20) + " and more",
        words(1005, 14) + " " + words(7000, 9),
        "before " + words(1000, 20) + " " + words(7000, 400),
        "before " + PROMPT + " " + words(7000, 400),
        words(0, 38) + " two others",
    ],
    ids=["the held-out one", "most of it", "a long one that holds it", "a long one that holds a prompt", "trained on"],
)
def test_what_repeats_a_text_is_left_out(text: str) -> None:
    assert added(document(text)) == set()


def test_of_two_near_duplicates_one_is_added() -> None:
    pair = [document(words(5000, 40)), document(words(5000, 39) + " other")]
    assert added(*pair) == {min(pair, key=lambda each: each.digest)}


def test_packages_whose_docstrings_are_prompts_are_no_source() -> None:
    assert not {name.removeprefix("_") for name in UNSEEN} & {*extended_corpus.MORE, *PACKAGES}
    assert all(reference_prompts(name).is_file() for name in extended_corpus._KEPT_OUT)


def test_readmes_and_documents_are_read_and_licences_listed() -> None:
    found = {each.name: each.text for each in extended_corpus.shipped_documents("numpy")}
    assert "NumPy is the fundamental package for scientific computing" in found["numpy:README"]
    assert any(name.endswith(".rst") for name in found)
    assert not [name for name in found if "license" in name.lower()]
    licences = {row["package"]: row["licence"] for row in extended_corpus.sources()}
    assert set(licences) >= {*PACKAGES, "attrs", "ray"}
    assert all(licences.values())


@pytest.mark.parametrize("name", train.LARGER)
def test_the_larger_ones_are_twice_as_deep(name: str) -> None:
    model = train.build_model(name, 0)
    assert len(model.model.layers) == 24
    if name != "small-vanilla":
        assert model.dialect.layers_per_block == 3
    assert 5.2e6 < sum(each.numel() for each in model.parameters()) < 5.4e6
