"""Claims about a recipe: checkpoints as units, over documents that they share."""

import json
import math

import numpy as np
import pytest
from scipy import stats
from support import sample_record

from attnres_core.__main__ import main
from attnres_core.claims.statements import Operator, Verdict
from attnres_core.records.schema import VERSION
from attnres_core.report.across_seeds import Across, as_json, as_markdown, decide_recipe
from attnres_core.statistics.intervals import decide

TITLE = "older blocks are necessary"
KEY = f"test_older.py::test_{TITLE.replace(' ', '_')}"
ALPHA = 0.01
"""Each claim's registered share."""
TEXT = "drop(older, attn, late) on trained [delta_nll]"


def statement(estimate, *, error=0.001, op=">", threshold=0.02, **given):
    made = sample_record.statement(f"{TEXT} {op} {threshold}", op, estimate, 3 * error, threshold)
    return {**made, "standard_error": error, "verdict": "SUPPORTED", **given}


def entry(*statements, **given):
    made = sample_record.claim(TITLE, *statements, group=None, node_id=f"hypotheses/{KEY}", alpha=ALPHA)
    fixed = {"registration": "registered", "verdict": "SUPPORTED", "under": [], "chosen": {}, "disagreement": ""}
    return {**made, **fixed, "quantities": [TEXT], **given}


def under(*kinds):
    """What a claim comes to under each kind; only their names matter here."""
    numbers = {"estimate": None, "low": None, "high": None, "unit": "nats/token"}
    return [{"kind": kind, "verdict": "SUPPORTED", **numbers} for kind in kinds]


def record(seed, *claims, **given):
    made = sample_record.sample_record()
    made["models"]["trained"] |= {"name": f"seed-{seed}", "weights_digest": f"{seed:064d}"}
    return {**made, "claims": list(claims), **given}


@pytest.fixture
def write(tmp_path):
    def written(records):
        files = [tmp_path / f"{place}.json" for place in range(len(records))]
        for file, each in zip(files, records, strict=True):
            file.write_text(json.dumps(each))
        return files

    return written


def decided(write, *estimates, **given):
    files = write([record(seed, entry(statement(x, **given))) for seed, x in enumerate(estimates)])
    (claim,) = decide_recipe(files).claims
    return claim


def test_limits_are_student_s_over_checkpoints_when_documents_have_no_error():
    estimates = (0.1, 0.12, 0.09, 0.15, 0.11)
    limits = Across("x", "nats/token", ">", 0.02, estimates, (0.0,) * 5).interval(0.025)
    low, high = stats.t.interval(0.95, 4, np.mean(estimates), stats.sem(estimates))
    assert (limits.low, limits.high) == pytest.approx((low, high))


def coverage(errors_known, trials=2000, checkpoints=5, documents=64):
    """How often limits hold the recipe's truth when checkpoints differ little and share the documents' noise."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(trials):
        shared = rng.normal(size=documents)
        own = 0.02 * rng.normal(size=(checkpoints, 1)) + shared + 0.1 * rng.normal(size=(checkpoints, documents))
        errors = own.std(1, ddof=1) / np.sqrt(documents) if errors_known else np.zeros(checkpoints)
        limits = Across("x", "nats/token", ">", 0.0, tuple(own.mean(1)), tuple(errors)).interval(0.025)
        held += limits.low < 0 < limits.high
    return held / trials


def test_shared_documents_error_is_in_the_limits():
    assert coverage(errors_known=True) >= 0.95
    assert coverage(errors_known=False) < 0.6  # what a t interval over the means alone would hold


@pytest.mark.parametrize(
    ("estimates", "verdict"),
    [
        ((0.10, 0.11, 0.09, 0.10, 0.12), Verdict.SUPPORTED),
        ((0.00, 0.001, -0.001, 0.002, 0.0), Verdict.REFUTED),
        ((0.10, 0.30, -0.10, 0.05, 0.20), Verdict.INCONCLUSIVE),
    ],
)
def test_a_claim_s_verdict_is_over_checkpoints(write, estimates, verdict):
    claim = decided(write, *estimates)
    assert claim.verdict is verdict
    ((across, limits, own),) = claim.statements
    assert across.estimates == estimates
    assert own is verdict is decide(Operator.ABOVE, 0.02, limits)


def test_seeds_that_part_leave_it_open(write):
    """Though each is decided by itself."""
    assert decided(write, 0.5, 0.5, 0.0, 0.0, 0.0).verdict is Verdict.INCONCLUSIVE


def test_a_claim_has_its_registered_share_of_alpha_whatever_is_shown(write):
    estimates = (0.030, 0.036, 0.024, 0.034, 0.031)
    for alpha, verdict in ((0.05, Verdict.SUPPORTED), (0.0004, Verdict.INCONCLUSIVE)):
        claims = [
            [entry(statement(x), alpha=alpha, node_id=f"hypotheses/{KEY}{k}") for k in range(20)] for x in estimates
        ]
        files = write([record(seed, *own) for seed, own in enumerate(claims)])
        assert {(claim.verdict, claim.alpha) for claim in decide_recipe(files).claims} == {(verdict, alpha)}
        (one,) = decide_recipe(files, only=f"{KEY}7").claims
        assert (one.verdict, one.alpha) == (verdict, alpha)


def test_copies_with_a_little_noise_are_no_seeds(write):
    """Five copies of one checkpoint whose weights moved a little: all effects move a little, none is the same."""
    rng = np.random.default_rng(0)
    effects = rng.normal(size=40)

    def records(scatter):
        every = [effects * (1 + scatter * rng.normal(size=40)) for _ in range(5)]
        return [
            record(seed, *(entry(statement(x), node_id=f"hypotheses/{KEY}{k}") for k, x in enumerate(own)))
            for seed, own in enumerate(every)
        ]

    with pytest.raises(ValueError, match="a copy is no other seed"):
        decide_recipe(write(records(0.001)))
    assert decide_recipe(write(records(0.25))).claims  # what seeds of the reference recipes differ by


def test_a_limit_that_a_long_tail_took_from_one_seed_is_none_over_seeds(write):
    """So that rare large effects, which the documents that all share may not hold, are not refuted."""
    estimates = (0.001, 0.0012, 0.0009, 0.0011, 0.0010)
    records = [record(seed, entry(statement(x, error=1e-5))) for seed, x in enumerate(estimates)]
    assert decide_recipe(write(records)).claims[0].verdict is Verdict.REFUTED
    records[3]["claims"][0]["statements"][0]["high"] = None
    assert decide_recipe(write(records)).claims[0].verdict is Verdict.INCONCLUSIVE


def test_noise_common_to_all_seeds_moves_the_limits_out(write):
    estimates = (0.030, 0.031, 0.0305, 0.0302, 0.0308)
    for noise, verdict in ((0.0, Verdict.SUPPORTED), (0.02, Verdict.INCONCLUSIVE)):
        assert decided(write, *estimates, noise_floor=noise, error=1e-5).verdict is verdict


def test_any_statement_refutes_at_its_share_of_alpha(write):
    """With two kinds of ablation, each of one statement, at half."""
    across = Across("x", "nats/token", ">", 0.02, (0.001, 0.006, -0.002, 0.004, 0.003), (0.001,) * 5)
    alpha = next(a for a in np.geomspace(0.2, 1e-6, 400) if across.interval(a / 2).high > 0.02)
    assert across.interval(alpha).high <= 0.02
    kinds = under("drop", "resample")
    records = [
        record(seed, entry(statement(x), statement(0.5 + seed / 100), under=kinds, alpha=alpha))
        for seed, x in enumerate(across.estimates)
    ]
    (claim,) = decide_recipe(write(records)).claims
    assert claim.statements[0][2] is Verdict.INCONCLUSIVE


def test_a_claim_with_picks_is_never_refuted_over_seeds(write):
    """Its negation speaks of families that the records hold no numbers of."""
    chosen = {"most_massive(attn)": "current"}
    for picked, verdict in (({}, Verdict.REFUTED), (chosen, Verdict.INCONCLUSIVE)):
        records = [record(seed, entry(statement(-0.3 - seed / 1000), chosen=picked)) for seed in range(5)]
        (claim,) = decide_recipe(write(records)).claims
        assert (claim.verdict, claim.statements[0][2]) == (verdict, Verdict.REFUTED)
        assert ("its families were picked" in claim.reason) is bool(picked)
    records = [record(seed, entry(statement(0.3 + seed / 1000), chosen=chosen)) for seed in range(5)]
    assert decide_recipe(write(records)).claims[0].verdict is Verdict.SUPPORTED


def test_a_statement_about_a_model_that_no_seed_changes_keeps_its_verdict(write):
    wrapped = statement(0.0, text="|drop(older, attn, late) on wrapped| < 0.01", op="abs<", threshold=0.01)
    records = [record(seed, entry(statement(0.1 + seed / 1000), wrapped)) for seed in range(5)]
    (claim,) = decide_recipe(write(records)).claims
    assert claim.verdict is Verdict.SUPPORTED
    assert claim.statements[1][1].mean == 0.0


def test_what_was_not_registered_says_nothing_of_a_recipe(write):
    given = {"registration": "exploratory", "split": "exploration"}
    records = [record(seed, entry(statement(0.1 + seed / 100), **(given if seed > 2 else {}))) for seed in range(5)]
    with pytest.raises(ValueError, match="share no registered claims"):
        decide_recipe(write(records))
    records = [record(seed, entry(statement(0.1 + seed / 100), registration="post hoc")) for seed in range(5)]
    assert f"{TITLE} (post hoc)" in as_markdown(decide_recipe(write(records)))


@pytest.mark.parametrize(("value", "count"), [(0.1, 5), (0.1, 6), (0.3, 10), (2.7, 6)])
def test_equal_estimates_say_nothing_of_a_recipe(write, value, count):
    """Also where their mean is not they, by a rounding."""
    claim = decided(write, *[value] * count)
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert "all the same" in claim.reason


def test_a_gate_on_one_checkpoint_forbids_a_verdict(write):
    records = [record(seed, entry(statement(0.1 + seed / 100))) for seed in range(4)]
    records.append(record(4, entry(statement(0.1, low=None, high=None))))
    (claim,) = decide_recipe(write(records)).claims
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert "1 of 5 checkpoints have no estimate" in claim.reason
    assert math.isnan(claim.statements[0][1].mean)  # four of five are not the recipe's


def test_a_gate_is_told_with_its_kind_of_ablation(write):
    records = [
        record(
            seed,
            entry(
                statement(0.1 + seed / 100),
                statement(0.1 + seed / 100, **({"low": None, "high": None} if seed > 2 else {})),
                under=under("drop", "resample"),
            ),
        )
        for seed in range(5)
    ]
    (claim,) = decide_recipe(write(records)).claims
    assert claim.reason.endswith("resample: 2 of 5 checkpoints have no estimate")


def test_a_gate_on_every_checkpoint_is_told_without_a_number(write):
    records = [record(seed, entry(statement(0.1 + seed / 100, low=None, high=None))) for seed in range(5)]
    recipe = decide_recipe(write(records))
    dash, minus = "\N{EN DASH}", "\N{MINUS SIGN}"
    single = ", ".join([dash] * 5)
    assert f"| {dash} [{minus}∞, +∞] &gt; 0.02 | {single}<br>SUPPORTED 5 |" in as_markdown(recipe)
    assert as_json(recipe)["claims"][0]["statements"][0]["mean"] is None


def test_kinds_of_ablation_that_disagree_are_told(write):
    kinds = under("drop", "resample")
    records = [
        record(seed, entry(statement(0.1 + seed / 1000), statement(-0.1 - seed / 1000), under=kinds))
        for seed in range(5)
    ]
    (claim,) = decide_recipe(write(records)).claims
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert "the kinds of ablation disagree: drop SUPPORTED, resample REFUTED" in claim.reason


def test_what_one_checkpoint_does_not_have_is_not_applicable(write):
    records = [record(seed, entry(statement(0.1 + seed / 100))) for seed in range(4)]
    records.append(record(4, entry(verdict="NOT APPLICABLE")))
    recipe = decide_recipe(write(records))
    assert recipe.claims[0].verdict is Verdict.NOT_APPLICABLE
    assert "**NOT APPLICABLE**: on 4 |" in as_markdown(recipe)
    records = [record(seed, entry(verdict="NOT APPLICABLE")) for seed in range(5)]
    assert "**NOT APPLICABLE**: on every checkpoint |" in as_markdown(decide_recipe(write(records)))


def test_claims_about_models_that_no_seed_changes_are_left_out(write):
    wrapped = entry(
        statement(0.1), node_id="hypotheses/x.py::test_wrapped", quantities=["spread(attn, all) on wrapped"]
    )
    control = entry(statement(0.1), node_id="hypotheses/x.py::test_control", control=True)
    files = write([record(seed, entry(statement(0.1 + seed / 100)), wrapped, control) for seed in range(5)])
    assert [claim.key for claim in decide_recipe(files).claims] == [KEY]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda records: records[:4], "4 records; a claim about a recipe needs 5"),
        (lambda records: [*records[:4], records[0]], "are of the same weights"),
        (lambda records: [*records[:4], record(9, *records[0]["claims"], complete=False)], "incomplete, quick"),
        (lambda records: [*records[:4], record(9)], "share no registered claims"),
        (lambda records: [*records[:4], {"schema": 1, "claims": []}], "a record of version 1"),
        (lambda records: [*records[:4], {"schema": VERSION, "claims": []}], "malformed"),
        (
            lambda records: [*records[:4], record(9, entry(statement(0.1, threshold=0.5)))],
            "does not state the same in every record",
        ),
        (
            lambda records: [*records[:4], record(9, entry(statement(0.1, text="drop(embedding, mlp) on trained")))],
            "does not state the same in every record",
        ),
        (
            lambda records: [*records[:4], record(9, entry(statement(0.1), alpha=0.05))],
            "does not state the same in every record",
        ),
        (
            lambda records: [*records[:4], record(9, *records[0]["claims"], *records[0]["claims"])],
            "twice, from two folders",
        ),
        (
            lambda records: [
                *records[:4],
                record(9, entry(statement(0.1), under=under("drop", "zero"))),
            ],
            "does not state the same in every record",
        ),
        (
            lambda records: [
                *records[:4],
                record(9, settings=records[0]["settings"] | {"registrations": {"lock": "", "claims": 0}}),
            ],
            "another lock of registered claims",
        ),
        (
            lambda records: [
                record(seed, *(entry(statement(0.1 * (seed % 4) + k), node_id=f"x.py::{k}") for k in (1, 2)))
                for seed in range(5)
            ],
            "have the same estimates throughout",
        ),
        (
            lambda records: [*records[:4], record(9, settings=records[0]["settings"] | {"dtype": "bfloat16"})],
            "another dtype",
        ),
    ],
)
def test_records_that_cannot_be_held_together_are_refused(write, change, message):
    records = [record(seed, entry(statement(0.1 + seed / 100))) for seed in range(5)]
    with pytest.raises(ValueError, match=message):
        decide_recipe(write(change(records)))


def test_the_command_prints_a_table_or_writes_json(write, tmp_path, capsys):
    files = write([record(seed, entry(statement(0.1 + seed / 100))) for seed in range(5)])
    main(["recipe", "decide", *map(str, files)])
    assert f"| {TITLE} | **SUPPORTED** | +0.120 [" in capsys.readouterr().out
    main(["recipe", "decide", *map(str, files), "-o", str(tmp_path / "out.json")])
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["claims"][0]["verdict"] == "SUPPORTED"
    found = [(checkpoint["label"], checkpoint["name"]) for checkpoint in written["checkpoints"]]
    assert found == [(f"{seed}", f"seed-{seed}") for seed in range(5)]
    with pytest.raises(SystemExit):
        main(["recipe", "decide", *map(str, files[:2])])
    assert "2 records; a claim about a recipe needs 5 or more" in capsys.readouterr().err


def test_the_table_escapes_what_a_record_says(write):
    records = [record(seed, entry(statement(0.1 + seed / 100), title="<script>|x|")) for seed in range(5)]
    recipe = decide_recipe(write(records))
    text = as_markdown(recipe)
    assert "<script>" not in text
    row = next(line for line in text.splitlines() if "script" in line)
    assert row.count(" | ") == 3
    assert "SUPPORTED" in row
    assert "79 % of seeds" not in text  # (at this alpha and five seeds it is 60 %)
    assert "60% of seeds" in text
    assert json.loads(json.dumps(as_json(recipe)))["claims"][0]["statements"][0]["estimates"][0] == 0.1
