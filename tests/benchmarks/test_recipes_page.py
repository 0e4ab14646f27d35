"""benchmarks/recipes.py and its page: every number follows from what is kept of the seeds."""

import json
import math
import re

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from support.sample_record import claim as sample_claim
from support.sample_record import sample_record, statement

from attnres_core.claims.statements import Operator, Verdict
from attnres_core.judging.recipe_registration import read
from attnres_core.report.across_seeds import Across
from attnres_core.report.recipe_marks import AGAINST, FOR
from attnres_core.statistics.intervals import decide
from attnres_core.statistics.sign_sketches import sketch
from benchmarks import recipes

LOCK = read(recipes.HYPOTHESES)
RECIPES = [recipes.kept(name) for name in LOCK.recipes]
EVERY = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


def kept_file(name):
    return json.loads((recipes.KEPT / f"{name}.json").read_text())


def fixed(text):
    """A statement about the wrapped model alone."""
    return text.count(" on ") == text.count(" on wrapped")


def test_the_page_is_what_is_kept():
    assert recipes.PAGE.read_text() == recipes.page(LOCK, RECIPES)


@EVERY
def test_the_ten_claims_are_decided_by_the_registered_rule_or_waited_for(recipe):
    of_recipe = recipes.PAGE.read_text().split(f"### {recipe.name}\n")[1].split("\n#")[0]
    assert set(recipe.measured) <= set(LOCK.seeds)
    own = {claim.key: claim for claim in recipe.claims}
    assert own.keys() == LOCK.claims.keys()
    assert not own.keys() & {claim.key for claim in recipe.estimates}
    for key, claim in own.items():
        assert tuple(across.text for across, _, _ in claim.statements) == LOCK.claims[key]
    if len(recipe.measured) < 8:
        assert recipe.decided == {}
        assert f"**Waiting: {len(recipe.measured)} of 8 seeds measured.**" in of_recipe
        assert of_recipe.count("| waiting |") == 10
        return
    for key, claim in own.items():
        agreed = {word for word in claim.each if claim.each.count(word) == 8} & {"SUPPORTED", "REFUTED"}
        assert recipe.decided[key] == (agreed.pop() if agreed else "INCONCLUSIVE")
        assert f"| {claim.title} | **{recipe.decided[key]}** |" in of_recipe


@EVERY
def test_a_kept_manifest_is_of_the_weights_that_were_measured(recipe):
    digests = {unit["label"]: unit["weights_digest"] for unit in kept_file(recipe.name)["registered"]["checkpoints"]}
    assert len(set(digests.values())) == len(recipe.seeds) == len(digests)
    for seed in set(recipe.seeds) & set(LOCK.seeds):
        manifest = json.loads((recipes.KEPT / recipe.name / f"{seed}.json").read_text())
        assert (manifest["name"], manifest["recipe"]["seed"]) == (recipe.name, seed)
        assert manifest["weights"] == digests[f"{recipe.name}-{seed}"]
    assert kept_file(recipe.name)["registered"]["unchecked"] == [] or not set(recipe.seeds) & set(LOCK.seeds)


def student_t(stated, alpha):
    """Limits at alpha from the estimates and their errors over documents; None: the statement has none."""
    estimates = np.array(stated["estimates"], dtype=float)
    if not np.isfinite(estimates).all() or stated["gate"]:
        return None
    count, errors = len(estimates), np.array(stated["errors"], dtype=float)
    error = math.sqrt(estimates.var(ddof=1) / count + np.square(errors).mean())
    half = stats.t.isf(alpha, count - 1) * error + stated["noise"]
    low = estimates.mean() - half if stated["has_low"] else -math.inf
    return low, estimates.mean() + half if stated["has_high"] else math.inf


@EVERY
def test_limits_and_verdicts_over_seeds_follow_from_the_estimates(recipe):
    checked = 0
    kept = kept_file(recipe.name)
    for claim in kept["registered"]["claims"] + kept["estimated"]["claims"]:
        for stated in claim["statements"]:
            if fixed(stated["text"]):
                continue  # its own limits
            levels = [student_t(stated, claim["alpha"] / share) for share in (1, len(claim["statements"]))]
            if None in levels:
                assert stated["verdict"] == "INCONCLUSIVE"
                continue
            shown = tuple(
                {"low": -math.inf, "high": math.inf}[end] if stated[end] is None else stated[end]
                for end in ("low", "high")
            )
            assert any(shown == pytest.approx(level) for level in levels)
            across = Across(**{name: stated[name] for name in Across.__dataclass_fields__})
            limits = [across.interval(claim["alpha"] / share) for share in (1, len(claim["statements"]))]
            assert stated["verdict"] == decide(Operator(stated["op"]), stated["threshold"], *limits)
            checked += 1
        if claim["picked"]:
            assert claim["verdict"] != "REFUTED"
    assert checked > 60


def one_sided(stated, sign, edge):
    """p of the hypothesis that the mean lies on the other side of the edge than `sign` says."""
    if student_t(stated, 0.1) is None or not stated["has_low" if sign > 0 else "has_high"]:
        return 1.0
    estimates, errors = np.array(stated["estimates"]), np.array(stated["errors"])
    error = math.sqrt(estimates.var(ddof=1) / len(estimates) + np.square(errors).mean())
    return stats.t.sf((sign * (estimates.mean() - edge) - stated["noise"]) / error, len(estimates) - 1)


def own_p_values(claim):
    """For a claim and against it, one after the other."""
    rows = []
    for stated in claim["statements"]:
        edge = stated["threshold"]
        sides = {">": [(1, edge)], "<": [(-1, edge)], "abs<": [(1, -edge), (-1, edge)]}[stated["op"]]
        if fixed(stated["text"]):
            rows.append([claim["alpha"] if stated["verdict"] == word else 1.0 for word in ("SUPPORTED", "REFUTED")])
        else:
            against = min(1.0, len(sides) * min(one_sided(stated, -sign, end) for sign, end in sides))
            rows.append([max(one_sided(stated, sign, end) for sign, end in sides), against])
    found, size = np.array(rows), len(rows) // claim["kinds"]
    against = max(min(1.0, size * found[i : i + size, 1].min()) for i in range(0, len(rows), size))
    return [found[:, 0].max(), 1.0 if claim["picked"] else against]


@EVERY
def test_the_marks_are_benjamini_and_yekutieli_s_at_a_twentieth(recipe):
    place = [own.name for own in RECIPES].index(recipe.name)
    claims = [claim for claim in kept_file(recipe.name)["estimated"]["claims"] if claim["statements"]]
    rejected = multipletests([p for claim in claims for p in own_p_values(claim)], 0.05, "fdr_by")[0]
    wanted = [
        FOR if holds else AGAINST if fails else "" for holds, fails in zip(rejected[::2], rejected[1::2], strict=True)
    ]
    assert {FOR, AGAINST} < set(wanted)
    rows = recipes.PAGE.read_text().split("## The other claims")[1].splitlines()
    cells = [row.split(" | ")[1 + place].strip(" |") for row in rows if row.startswith("| ") and "seeds |" not in row]
    found = [re.match(r"(?:\*\*(.)\*\*)?", cell).group(1) or "" for cell in cells if cell]
    assert sorted(found) == sorted(wanted)
    order = {claim["key"]: mark for claim, mark in zip(claims, wanted, strict=True)}
    assert found == [order[key] for key in sorted(order)]


# From records to the page -------------------------------------------------------------------------------------------


@pytest.fixture
def seeds(tmp_path, monkeypatch):
    """A folder of trainings and records, and a place to keep numbers; `measured(count)` adds the first seeds."""
    kept, name = tmp_path / "kept", "tiny-open-block"
    (kept / name).mkdir(parents=True)
    known = kept_file("tiny-kimi-block")
    numbers = known["registered"] | {"seeds": known["estimated"]["seeds"]}
    earlier = {"measured": [], "decided": {}, "registered": numbers}
    (kept / f"{name}.json").write_text(json.dumps(known | earlier))
    (kept / name / "1.json").write_text("{}")
    monkeypatch.setattr(recipes, "KEPT", kept)

    def measured(count, word="SUPPORTED", others=()):
        for seed in LOCK.seeds[:count]:
            folder = tmp_path / "seeds" / f"{name}-{seed}" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text("{}")
            (folder / "model.safetensors").write_bytes(str(seed).encode())
            manifest = {"name": name, "recipe": {"steps": 4000, "seed": seed}, "data": {"digest": "d"}}
            (folder / "manifest.json").write_text(json.dumps(manifest))
            record = sample_record()
            weights = np.random.default_rng(seed).normal(size=50_000)
            digest = recipes.weights_digest(folder)
            record["models"]["trained"] |= {"weights_digest": digest, "sketch": sketch({"a": weights})}
            claims = {**LOCK.claims, **{key: ("drop(current, mlp, mid) on trained [delta_nll] > 0",) for key in others}}
            record["claims"] = [registered(key, texts, seed, word) for key, texts in claims.items()]
            (tmp_path / "seeds/records").mkdir(exist_ok=True)
            (tmp_path / f"seeds/records/{name}-{seed}.json").write_text(json.dumps(record))
        recipes.keep(name, LOCK, tmp_path / "seeds")
        return recipes.kept(name)

    return measured


def registered(key, texts, seed, word):
    rng = np.random.default_rng([seed, *key.encode()])
    stated = [statement(text, ">", 1 + rng.normal(), 0.3, float(text.split("> ")[1])) for text in texts]
    given = {"registration": "registered", "alpha": 0.05 / 128, "under": [], "chosen": {}, "quantities": [texts[0]]}
    return sample_claim(key, *stated, group=None, **given) | {"node_id": f"hypotheses/{key}", "verdict": word}


def test_fewer_than_five_seeds_leave_the_earlier_numbers(seeds):
    kept = seeds(3)
    assert (kept.measured, kept.seeds, kept.decided) == ((101, 102, 103), (20261122, 1, 2, 3, 4), {})
    page = recipes.page(LOCK, [kept])
    assert "**Waiting: 3 of 8 seeds measured.**" in page
    assert "no verdict rests on these seeds" in page


def test_six_seeds_give_their_numbers_and_no_verdict(seeds, tmp_path):
    kept = seeds(6)
    assert kept.measured == kept.seeds == LOCK.seeds[:6]
    assert kept.decided == {}
    page = recipes.page(LOCK, [kept])
    assert "**Waiting: 6 of 8 seeds measured.**" in page
    assert page.count("| waiting | SUPPORTED 6 |") == 10
    stems = {file.stem for file in (tmp_path / "kept/tiny-open-block").glob("*")}
    assert stems == {"1", *map(str, LOCK.seeds[:6])}


def test_estimates_are_of_earlier_seeds_until_all_claims_are_measured_on_these(seeds):
    earlier = RECIPES[1].estimates  # (the fixture's: tiny-kimi-block's)
    kept = seeds(8)
    assert kept.estimated_on == (20261122, 1, 2, 3, 4)
    assert [claim.key for claim in kept.estimates] == [claim.key for claim in earlier]
    assert "seeds 20261122, 1, 2, 3, 4, measured before the registration.\n" in recipes.page(LOCK, [kept])
    assert seeds(8, others=["test_more.py::test_more"]).estimated_on == kept.estimated_on
    every = [claim.key for claim in earlier]
    kept = seeds(8, others=every)
    assert (kept.estimated_on, {claim.key for claim in kept.estimates}) == (LOCK.seeds, set(every))
    assert "The numbers are of seeds 101, 102, 103, 104, 105, 106, 107, 108.\nAn empty" in recipes.page(LOCK, [kept])


def test_eight_seeds_decide_and_fewer_records_later_change_nothing(seeds, tmp_path):
    seeds(6)
    kept = seeds(8)
    (tmp_path / f"seeds/records/tiny-open-block-{LOCK.seeds[-1]}.json").unlink()
    recipes.keep("tiny-open-block", LOCK, tmp_path / "seeds")
    assert recipes.kept("tiny-open-block") == kept
    assert set(kept.decided.values()) == {Verdict.SUPPORTED}
    page = recipes.page(LOCK, [kept])
    assert "Decided on all 8 seeds: 101, 102" in page
    assert page.count("| **SUPPORTED** | SUPPORTED 8 |") == 10
