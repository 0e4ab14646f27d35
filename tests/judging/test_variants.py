"""Claims that are decided over each variant of their documents, and what makes variants of prompts."""

import json

import numpy as np
import pytest
from support.small_suite import record_of

import attnres_core as ac
from attnres_core.__main__ import main
from attnres_core.claims.claim import cases_of, under_each
from attnres_core.claims.statements import ClaimError, Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import agreed
from attnres_core.prompt_making import make_variants
from attnres_core.prompts import load_prompts
from attnres_core.quantities.ablations import Kind
from attnres_core.shipped import reference

EFFECT = ac.drop(ac.CURRENT, ac.MLP).on(ac.TRAINED)
CLAIM = """
from attnres_core import CURRENT, MLP, TRAINED, claim, drop

@claim(effect=drop(CURRENT, MLP).on(TRAINED), variants=["plain", "odd"])
def test_varied(effect):
    assert effect > {threshold}
"""


def prompt_file(folder, variants=("plain", "odd"), documents=40):
    """Documents of which every one has a prompt of each variant; the odd ones are words of their own."""
    rng, file = np.random.default_rng(0), folder / "varied.jsonl"
    with file.open("w") as stream:
        for index in range(documents + 1):  # (one of the other split, which no claim reads)
            split = "exploration" if index else "confirmation"
            for variant in variants:
                words = " ".join(f"w{token}" for token in rng.integers(0, 96, 12))
                row = {"id": f"d{index} {variant}", "document": f"d{index}", "text": words, "variant": variant}
                stream.write(json.dumps(row | {"split": split}) + "\n")
    return file


def test_a_claim_is_decided_over_each_variant(suite, pytester, micro):
    file = prompt_file(pytester.path)
    prompts, model = load_prompts(file).part("exploration"), ac.load_model(micro / "trained")
    column = ac.measure(model, prompts, [EFFECT])[EFFECT]
    of = {v: [x for x, p in zip(column, prompts.prompts, strict=True) if p.variant == v] for v in ("plain", "odd")}
    low, high = sorted(float(np.mean(values)) for values in of.values())
    assert high - low > 0.01
    suite("-n", "0", f"--attnres-prompts={file}", claims=CLAIM.format(threshold=-9))
    (claim,) = record_of(pytester)["claims"]
    assert [entry["kind"] for entry in claim["under"]] == ["plain", "odd"]
    assert [entry["estimate"] for entry in claim["under"]] == pytest.approx([np.mean(of["plain"]), np.mean(of["odd"])])
    assert (claim["verdict"], claim["documents"], claim["statements"][0]["n"]) == ("SUPPORTED", 40, 40)
    assert claim["quantities"][1] == "drop(current, mlp, all) on trained [delta_nll] over 'odd'"


def test_a_document_without_a_variant_is_told_of(suite, pytester, micro):
    file = prompt_file(pytester.path, ("plain", "other"))
    suite("-n", "0", f"--attnres-prompts={file}", claims=CLAIM.format(threshold=0))
    (claim,) = record_of(pytester)["claims"]
    assert claim["verdict"] == "ERROR"
    assert "has no prompt of variant 'odd'; give every document one" in claim["reason"]


def test_quantities_and_statements_once_a_case():
    statement = Statement(Linear(((EFFECT, 1.0),)), Operator.ABOVE, 0.0)
    used, statements = under_each((), (EFFECT,), (statement,), ("a", "b"))
    assert [quantity.variant for quantity in used] == ["a", "b"]
    texts = [str(each).partition(" > ")[0] for each in statements]
    assert all(text.endswith(f"over {v!r}") for text, v in zip(texts, "ab", strict=True))
    used, statements = under_each((Kind.DROP, Kind.OPTIMAL), (EFFECT,), (statement,), ("a", "b"))
    assert [(str(q.what.kind), q.variant) for q in used] == [(k, v) for k in ("drop", "optimal") for v in "ab"]
    assert len(statements) == len(cases_of((Kind.DROP, Kind.OPTIMAL), ("a", "b"))) == 4


def test_where_variants_disagree_it_says_variants():
    def one(verdict):
        return [type("Decided", (), {"verdict": verdict})()]

    found = agreed([one(Verdict.SUPPORTED), one(Verdict.REFUTED)], ["plain", "odd"])
    assert found == (Verdict.INCONCLUSIVE, "the variants disagree: plain SUPPORTED, odd REFUTED")


@pytest.mark.parametrize("given", ["plain", ["plain"], ["plain", ""], 3, [1, 2]])
def test_what_is_no_list_of_variants_is_refused(given):
    with pytest.raises(ClaimError, match="give True, or a list of two or more names of variants"):
        ac.claim(effect=EFFECT, variants=given)


def test_the_four_variants_of_a_text(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "Return the Mean of the values.\n\nEvery value counts once, and the result is a number of the same kind.\n"
    rows = [{"id": "long", "text": text}, {"id": "plain", "text": "all lower case"}]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    main(["prompts", "variants", "texts.jsonl"])
    assert "left out: 1 that read the same in two variants" in capsys.readouterr().out
    made = {prompt.variant: prompt for prompt in load_prompts("variants.jsonl").prompts}
    assert {prompt.document for prompt in made.values()} == {"long"}
    assert made["as written"].text == text
    assert made["lower case"].text == text.lower()
    assert made["indented"].text.startswith("    Return the Mean of the values.\n\n    Every value")
    assert made["rewrapped"].text.splitlines()[2:] == [
        "Every value counts once, and the result is a number of the",
        "same kind.",
    ]
    tokenizer = reference("tiny-open-block") / "tokenizer.json"
    with pytest.raises(ValueError, match="is a variant already; give prompts that are texts alone"):
        make_variants(load_prompts("variants.jsonl"), tokenizer)
