"""Interchanges with a donor: their built-in controls, what prompt files may hold, and through a suite."""

import json

import numpy as np
import pytest
import torch
from support.every_kind import donors_of

import attnres_core as ac
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.prompts import load_prompts
from attnres_core.quantities.intervention import SHAM, self_swap

FOLDERS = ("open_block_11", "kimi_block_14", "open_full_13", "open_reset_12")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_swap_with_itself_changes_no_bit(folder, conformance):
    """Against a sham at the same place of a batch: kernels may round otherwise at another."""
    model = ac.load_model(conformance / folder)
    rows = np.random.default_rng(0).integers(0, 96, (3, 9)).tolist()
    swap = self_swap(model.sites, model.num_layers)
    swapped, sham = (sweep_chunk(model, rows, [what])[what.key] for what in (swap, SHAM))
    for field in ("delta_nll", "kl", "trace", "input_change"):
        assert np.array_equal(swapped[field], sham[field]), field
    assert np.abs(swapped["delta_nll"]).max() < 1e-6


def test_a_whole_swap_is_the_donor_s_run_where_there_is_a_read_out(conformance):
    model = ac.load_model(conformance / "kimi_block_14")
    rows = np.random.default_rng(0).integers(0, 96, (3, 9)).tolist()
    whole, gap = ac.interchange(ac.ANY, ac.ALL_SITES, part=ac.BOTH), ac.donor_gap()
    columns = ac.measure(model, rows, [whole, gap], donors=donors_of(rows, model))
    assert columns[whole] == pytest.approx(columns[gap], abs=1e-5)
    assert np.abs(columns[gap]).max() > 0.01


def test_entropy_and_agreement_by_two_plain_runs(conformance):
    model = ac.load_model(conformance / "open_block_11")
    rows = np.random.default_rng(0).integers(0, 96, (4, 12)).tolist()
    drop = ac.drop(ac.CURRENT, ac.MLP)
    wanted = [drop.on(ac.TRAINED, metric=metric) for metric in (ac.TOP1_AGREEMENT, ac.DELTA_ENTROPY)]
    columns = ac.measure(model, rows, wanted)
    for row, ids in enumerate(rows):
        before, after = (model.logits(torch.tensor([ids]), ablation=what)[0, :-1].softmax(-1) for what in (None, drop))
        changed = (before.argmax(-1) != after.argmax(-1)).float().mean()
        rise = (torch.special.entr(after).sum(-1) - torch.special.entr(before).sum(-1)).mean()
        assert [columns[what][row] for what in wanted] == pytest.approx([float(changed), float(rise)], abs=1e-5)
    assert 0 < columns[wanted[0]].mean() < 1


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(micro):
    return ac.load_model(micro / "trained")


PAIR = {"id": "p0", "text": "w1 w2 w3", "answer": "w5", "foil": "w6", "donor": "w4 w2 w3"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"donor": "w4 w2"}, "the donor of prompt 'p0' has 2 tokens and the prompt 3; positions must match"),
        ({"donor": "w4 w2 w9"}, "the donor of prompt 'p0' ends in token 9 and the prompt in 3"),
        ({"donor": "w1 w2 w3"}, "the donor of prompt 'p0' is the prompt itself"),
        ({"foil": "w5"}, "answer 'w5' and foil 'w5' begin with the same token"),
        ({"placebo": "w1 w2 w3 w3"}, "the placebo of prompt 'p0' has 4 tokens and the prompt 3"),
    ],
)
def test_pairs_that_cannot_stand_in_for_each_other(model, tmp_path, change, message):
    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps(PAIR | {"split": "exploration"} | change))
    with pytest.raises(ValueError, match=message):
        ac.measure(model, load_prompts(file), [ac.interchange(ac.CURRENT, ac.MLP)])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a", "text": "w1 w2", "donor": "w3 w2"}, "a `donor` without a `foil`; give the donor's answer"),
        ({"id": "a", "text": "w1", "answer": "w1", "foil": "w2", "placebo": "w3"}, "a `placebo` without a `donor`"),
        ({"id": "a", "text": "w1", "answer": "w1", "foil": "w2"}, "some prompts have `donor` and some have none"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, row, message):
    file = tmp_path / "pairs.jsonl"
    file.write_text(f"{json.dumps(PAIR)}\n{json.dumps(row)}")
    with pytest.raises(ValueError, match=message):
        load_prompts(file)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ac.interchange(ac.OLDER, ac.ATTN, part="keys"), r"`part` is 'keys'; allowed: STATES \('states'\)"),
        (lambda: ac.placebo(ac.drop(ac.OLDER, ac.ATTN)), r"`ablation` is drop\(older, attn, all\); a placebo is of an"),
        (lambda: ac.sharpen(ac.ATTN, by=0), "`by` is 0; give a number above 0"),
        (lambda: ac.permute(ac.ATTN, keeping="all"), "`keeping` is 'all'; allowed: EMBEDDING"),
        (lambda: ac.keep_wired(0, ac.ATTN), "`count` is 0; give a whole number, at least 1"),
        (
            lambda: ac.other_sublayer(ac.drop(ac.OLDER, ac.ALL_SITES)),
            "is about every site, which has no other sublayer",
        ),
        (lambda: ac.mass_and_effect("slope", ac.ALL_SITES), "`sublayer` is all_sites"),
    ],
)
def test_requests_that_make_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_donors_an_interchange_is_refused(model, tmp_path):
    what = ac.interchange(ac.CURRENT, ac.MLP)
    with pytest.raises(ValueError, match="taken from each donor; give prompts that have a `donor`"):
        ac.measure(model, [[1, 2, 3]], [what])
    with pytest.raises(ValueError, match="there are 1 donors for 2 prompts"):
        ac.measure(model, [[1, 2, 3], [4, 2, 3]], [what], donors=[[5, 2, 3]])
    with pytest.raises(ValueError, match="is the donor's own run"):
        model.logits(torch.tensor([[1, 2]]), ablation=ac.donor_gap(), donors=[[3, 2]])
    file = tmp_path / "plain.jsonl"
    file.write_text(json.dumps({"id": "a", "text": "w1 w2", "split": "exploration"}))
    with pytest.raises(ValueError, match="needs prompts with a field `donor`; plain has none"):
        ac.measure(model, load_prompts(file), [what], store=tmp_path / "store")


def test_words_of_requests():
    told = [
        ac.interchange(ac.ANY, ac.ALL_SITES, part=ac.WEIGHTS),
        ac.donor_gap(),
        ac.permute(ac.MLP, keeping=ac.CURRENT),
    ]
    assert list(map(str, told)) == [
        "interchange(any, all_sites, all, weights)",
        "donor_gap()",
        "permute(keeping current, mlp, all)",
    ]
    assert str(ac.placebo(ac.interchange(ac.OLDER, ac.ATTN))) == "placebo(interchange(older, attn, all, states))"
    assert str(ac.sharpen(ac.ATTN, by=0.5)) == "sharpen(attn, all, times 0.5)"
    assert str(ac.keep_wired(2, ac.MLP)) == "keep_wired(mlp, all, 2 sources)"


# Through a suite ------------------------------------------------------------------------------------------------------


def test_claims_about_interchanges(suite, pytester, tmp_path):
    """A placebo is measured beside, and a swap of every prompt with itself, among the shams."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(48):
        one, other, idle, changed, *rest = (f"w{token}" for token in rng.choice(96, 8, replace=False))
        for half, (own, foil) in zip("ab", ((one, other), (other, one)), strict=True):
            rest_of = " ".join(rest)
            row = {"id": f"p{index}{half}", "document": f"p{index}", "answer": own, "foil": foil}
            row |= {"text": f"{own} {idle} {rest_of}", "donor": f"{foil} {idle} {rest_of}"}
            row |= {"placebo": f"{own} {changed} {rest_of}", "split": ("confirmation", "exploration")[index % 2]}
            rows.append(row)
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    claims = """
from attnres_core import ALL_SITES, ANY, ATTN, BOTH, CURRENT, EMBEDDING, FINAL, LOGIT_DIFFERENCE, MLP, TRAINED
from attnres_core import claim, donor_gap, interchange, placebo, reads

WHOLE = interchange(ANY, ALL_SITES, part=BOTH)

@claim(effect=WHOLE.on(TRAINED, metric=LOGIT_DIFFERENCE), gap=donor_gap().on(TRAINED, metric=LOGIT_DIFFERENCE))
def test_whole(effect, gap):
    assert abs(effect - 0.5 * gap) < 50

def early(via=None):
    return interchange(EMBEDDING, MLP, via=via).on(TRAINED, metric=LOGIT_DIFFERENCE)

@claim(total=early(), direct=early(FINAL), edge=early(reads(ANY, ATTN)))
def test_parts(total, direct, edge):
    assert abs(total - direct - edge) < 50

@claim(one=early(reads(ANY, ATTN)), part_of_it=early(reads(CURRENT, ATTN)))
def test_parts_that_overlap(one, part_of_it):
    assert abs(one - 0.5 * part_of_it) < 50

@claim(effect=placebo(WHOLE).on(TRAINED, metric=LOGIT_DIFFERENCE))
def test_placebo(effect):
    assert abs(effect) < 50
"""
    suite("-n0", "-q", f"--attnres-prompts={tmp_path / 'pairs.jsonl'}", claims=claims)
    record = json.loads((pytester.path / "reports" / "latest.json").read_text())
    found = {claim["node_id"].split("::")[1]: claim for claim in record["claims"]}
    assert [claim["verdict"] for claim in found.values()] == ["SUPPORTED"] * 4
    parts = found["test_parts"]["by_path"]
    assert [(row["part"], row["label"]) for row in parts[1:]] == [
        ("path", "read-out"),
        ("path", "attention"),
        ("rest", "the rest"),
    ]
    whole, *means = (row["mean"] for row in parts)
    assert abs(whole) > 1e-4
    assert whole == pytest.approx(sum(means), abs=1e-6)
    assert parts[0]["whole"] == "interchange(embedding, mlp, all, states) on trained [logit_difference]"
    overlapping = found["test_parts_that_overlap"]["by_path"]  # neither the whole, which it does not name, nor a rest
    assert [row["label"] for row in overlapping] == ["attention", "current \N{RIGHTWARDS ARROW} attention"]
    assert {column.get("via") for column in record["columns"]} >= {None, "final", "reads(any, attn, all)"}
    keys = {key.split("|")[0] for file in pytester.path.rglob("*.safetensors") for key in _names(file)}
    assert any('"control":"self_swap"' in key for key in keys)


def _names(file):
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        return list(opened.keys())
