"""Claims about prompt sets of their own, in one run with claims about the run's."""

import json

import numpy as np
import pytest
from support.small_suite import record_of, verdicts

from attnres_core.records.document_columns import columns_of
from attnres_core.registration.registry import Registry

pytestmark = pytest.mark.usefixtures("_quiet")
CLAIMS = """
from attnres_core import ATTN, CURRENT, LOGIT_DIFFERENCE, MLP, TRAINED, claim, donor_gap, drop, most_massive

@claim(effect=drop(CURRENT, MLP).on(TRAINED))
def test_own(effect):
    assert effect > -50

@claim(effect=drop(CURRENT, MLP).on(TRAINED, prompts="others"))
def test_others(effect):
    assert effect > -50

@claim(gap=donor_gap().on(TRAINED, metric=LOGIT_DIFFERENCE, prompts="pairs-induction"))
def test_made_for_another_tokenizer(gap):
    assert gap > 1
"""
SETS = ("--attnres-prompt-sets=sets", "--attnres-store=store")


def words(folder, seed, per_split=20):
    """A set `others` of prompts of random words, two to a document."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    with (folder / "others.jsonl").open("w") as stream:
        for index in range(4 * per_split):
            text = " ".join(f"w{token}" for token in rng.integers(0, 96, 12))
            split = "exploration" if index % 4 < 2 else "confirmation"
            row = {"id": f"o{index}", "text": text, "document": f"d{index // 2}", "split": split}
            stream.write(json.dumps(row) + "\n")


@pytest.fixture
def sets(pytester):
    words(pytester.path / "sets", 5)


@pytest.mark.usefixtures("sets")
def test_each_claim_is_decided_on_the_prompts_it_names(suite, pytester):
    result = suite("-n", "0", *SETS, claims=CLAIMS)
    result.stdout.fnmatch_lines(
        [
            "*prompts: prompts (40 exploration, 40 confirmation)*",
            "*prompts: others (40 exploration, 40 confirmation)*",
            "*prompts: pairs-induction: NOT APPLICABLE, it was made for another tokenizer*prompts pairs*",
        ]
    )
    found, record = verdicts(pytester), record_of(pytester)
    own, others, unfit = (found[name] for name in ("test_own", "test_others", "test_made_for_another_tokenizer"))
    assert (own["n"], own["prompts"], own.get("prompt_set")) == (40, 40, "")
    assert (others["n"], others["prompts"], others.get("prompt_set")) == (20, 40, "others")
    assert own["estimate"] != others["estimate"]
    assert others["statement"] == "drop(current, mlp, all) on trained over others [delta_nll] > -50"
    assert unfit["verdict"] == "NOT APPLICABLE"
    assert "another tokenizer" in unfit["reason"]
    assert set(record["settings"]["prompt_sets"]) == {"others", "pairs-induction"}
    assert {example["prompt"] for example in others["examples"]} <= {f"o{index}" for index in range(80)}
    assert {column["name"] for column in record["columns"]} >= {
        "drop(current, mlp, all) on trained [delta_nll]",
        "drop(current, mlp, all) on trained over others [delta_nll]",
    }


@pytest.mark.usefixtures("sets")
def test_a_named_set_gives_what_a_run_over_it_gives(suite, pytester):
    claims = CLAIMS.partition("@claim(gap")[0]
    suite("-n", "0", *SETS, claims=claims)
    named = verdicts(pytester)["test_others"]
    suite("-n", "0", *SETS, "--attnres-prompts=sets/others.jsonl", claims=claims)
    alone = verdicts(pytester)["test_own"]
    assert [named[field] for field in ("estimate", "interval", "n")] == [
        alone[field] for field in ("estimate", "interval", "n")
    ]


@pytest.mark.usefixtures("sets")
def test_one_budget_serves_all_sets_of_a_run(suite, pytester):
    claims = CLAIMS.partition("@claim(gap")[0]
    suite("-n", "0", *SETS, "--attnres-register", claims=claims).assert_outcomes()
    registry = Registry(pytester.path)
    entries = registry.entries
    assert [entries[f"test_claims.py::{name}"].alpha for name in ("test_own", "test_others")] == [0.0125, 0.0125]
    assert entries["test_claims.py::test_own"].prompts != entries["test_claims.py::test_others"].prompts
    assert [set(row["spent"]) for row in registry.ledger] == [
        {"test_claims.py::test_own"},
        {"test_claims.py::test_others"},
    ]
    suite("-n", "0", *SETS, claims=claims)
    assert {entry["registration"] for entry in verdicts(pytester).values()} == {"registered"}
    assert all(entry["p_max_t"] >= entry["p_value"] for entry in verdicts(pytester).values())
    columns = columns_of(pytester.path / "reports" / "latest.json")
    assert {name.partition("|")[0] for name in columns} == {"confirmation", "confirmation of others"}
    words(pytester.path / "sets", 6)  # other prompts under the same name
    suite("-n", "0", *SETS, claims=claims)
    assert {name: entry["registration"] for name, entry in verdicts(pytester).items()} == {
        "test_own": "registered",
        "test_others": "other prompts",
    }


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "a=drop(MLP_OF).on(TRAINED), b=drop(MLP_OF).on(TRAINED, prompts='others')",
            "over the run's prompts and others",
        ),
        ("a=drop(MLP_OF).on(TRAINED, prompts=3), b=None", "*`prompts` is 3; give a shipped set's name*"),
        ("a=drop(most_massive(MLP), MLP).on(TRAINED, prompts='others')", "*families are picked on the run's prompts*"),
    ],
    ids=["two-sets", "no-name", "picks"],
)
def test_what_makes_no_sense_is_a_mistake_at_collection(suite, body, told):
    names = "a, b" if "b=" in body else "a"
    text = CLAIMS.partition("@claim")[0] + f"@claim({body.replace('MLP_OF', 'CURRENT, MLP')})\ndef test_it({names}):\n"
    text += "    assert a - b > 0\n" if names == "a, b" else "    assert a > 0\n"
    suite("-n", "0", "--collect-only", claims=text).stdout.fnmatch_lines([f"*{told}*"])


def test_a_folder_of_sets_that_is_not_there_is_an_error_and_no_shipped_set_takes_its_place(suite):
    result = suite("-n", "0", "--attnres-prompt-sets=nowhere", claims=CLAIMS)
    result.stderr.fnmatch_lines(["*--attnres-prompt-sets: nowhere is no folder; give one that holds NAME.jsonl"])


def test_an_unknown_set_is_told_with_those_there_are(suite):
    result = suite("-n", "0", claims=CLAIMS)
    result.stderr.fnmatch_lines(["*a claim is about the prompt set 'others': *there are: *pairs-induction*"])
