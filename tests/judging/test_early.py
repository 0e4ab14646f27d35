"""Deciding early: looks and what they spend, what may fall when, what is left unmeasured, and no second chance."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from scipy import stats
from support.small_suite import record_of, verdicts

from attnres_core import (
    ALL,
    ATTN,
    CURRENT,
    EARLY,
    EMBEDDING,
    MLP,
    TRAINED,
    WRAPPED,
    closed_form_error,
    drop,
    load_model,
    load_prompts,
    mass,
    mass_and_effect,
    measure,
    most_causal,
    most_massive,
    resample,
)
from attnres_core.claims.claim import Claim
from attnres_core.claims.statements import Linear, Operator, Statement, Verdict
from attnres_core.engine.store import Store
from attnres_core.judging import stored_decisions
from attnres_core.judging.decisions import Question, judge
from attnres_core.judging.family_selection import filled_statement
from attnres_core.judging.negation import negation
from attnres_core.judging.outcomes import Outcome
from attnres_core.prompts import Split
from attnres_core.quantities.ablations import Kind
from attnres_core.quantities.vocabulary import Family, Statistic
from attnres_core.registration.registry import Standing
from attnres_core.statistics import intervals
from attnres_core.statistics.associations import influence, smoothing_bias
from attnres_core.statistics.sequential import Look, looks

CLAIMS = """
from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, MLP, TRAINED, WRAPPED, claim, drop

@claim(effect=drop(CURRENT, ATTN, EARLY).on(TRAINED))
def test_clear(effect):
    assert effect > -5

@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED))
def test_refuted(effect):
    assert effect > 5

@claim(effect=drop(EMBEDDING, ATTN, EARLY).on(TRAINED))
def test_null(effect):
    assert abs(effect) < 5

@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED))
def test_open(effect):
    assert {open}
"""


FIRST, _, LAST = looks(256, sequential=True)


def decided(column, operator, threshold, look, alpha=0.01, refuters=1, quantity="x"):
    question = Question(Statement(Linear(((quantity, 1.0),)), operator, threshold), alpha, refuters, look=look)
    return judge([question], {quantity: column})[question]


EVERY = [  # about a mean of 1
    (Operator.ABOVE, 0, Verdict.SUPPORTED),
    (Operator.ABOVE, 5, Verdict.REFUTED),
    (Operator.BELOW, 5, Verdict.SUPPORTED),
    (Operator.BELOW, 0, Verdict.REFUTED),
    (Operator.WITHIN, 5, Verdict.SUPPORTED),
    (Operator.WITHIN, 0.1, Verdict.REFUTED),
]


@pytest.mark.parametrize("look", [FIRST, LAST])
@pytest.mark.parametrize(("operator", "threshold", "verdict"), EVERY)
def test_every_verdict_may_fall_at_every_look_and_spends_its_share(operator, threshold, verdict, look):
    column = np.random.default_rng(0).normal(1, 1, 64)
    found = decided(column, operator, threshold, look, refuters=2)
    assert found.verdict is verdict
    spent = 0.01 * look.share / (2 if verdict is Verdict.REFUTED else 1)
    assert found.interval.alpha == spent
    (alone,) = intervals.bootstraps([column], [0.01])
    own = alone.interval(spent)
    assert (found.interval.low, found.interval.high) == (own.low, own.high)


def test_a_look_decides_by_limits_at_its_share_alone():
    """Thresholds between the limits at alpha and those at a quarter of it: open at the first look."""
    column = np.random.default_rng(0).normal(1, 1, 64)
    (made,) = intervals.bootstraps([column], [0.01])
    all_of_it, share = made.interval(0.01), made.interval(0.0025)
    low, high = (all_of_it.low + share.low) / 2, (all_of_it.high + share.high) / 2
    cases = [(Operator.ABOVE, low), (Operator.ABOVE, high), (Operator.BELOW, high), (Operator.WITHIN, high)]
    for operator, threshold in cases:
        assert decided(column, operator, threshold, Look()).verdict is not Verdict.INCONCLUSIVE
        assert decided(column, operator, threshold, FIRST).verdict is Verdict.INCONCLUSIVE


def test_p_values_count_the_looks():
    column = np.random.default_rng(0).normal(1, 1, 64)
    for operator, threshold in ((Operator.ABOVE, 0.8), (Operator.BELOW, 1.3), (Operator.WITHIN, 1.3)):
        once = decided(column, operator, threshold, Look())
        assert decided(column, operator, threshold, FIRST).p_value == pytest.approx(4 * once.p_value)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_tail_gate_is_stricter_before_the_last_look_on_the_side_of_the_tail(sign):
    column = sign * np.random.default_rng(5).lognormal(0, 0.5, 64)  # the limit on the side of the tail is in doubt
    skewness = abs(((column - column.mean()) ** 3).mean() / column.std() ** 3)
    z = stats.norm.ppf([1 - 0.01 / 4, 1 - 0.01 / 2])  # the levels of the two looks
    assert z[0] * skewness / 8 > 0.5
    assert z[1] * skewness / 8 < 1
    tail, other = (Operator.BELOW, Operator.ABOVE) if sign > 0 else (Operator.ABOVE, Operator.BELOW)
    needs_the_tail = [(tail, sign * 50), (other, sign * 50), (Operator.WITHIN, 50)]  # support, refute, both limits
    for operator, threshold in needs_the_tail:
        assert decided(column, operator, threshold, FIRST).verdict is Verdict.INCONCLUSIVE
        assert decided(column, operator, threshold, LAST).verdict is not Verdict.INCONCLUSIVE
    for operator, threshold in ((other, -sign * 50), (tail, -sign * 50), (Operator.WITHIN, 0.1)):
        assert decided(column, operator, threshold, FIRST).verdict is not Verdict.INCONCLUSIVE


def test_the_support_that_is_asked_for_is_that_of_the_looks_level():
    """ln(10 / .01) is 6.9 and ln(10 / .0025) is 8.3: eight values off the mode are enough for the one alone."""
    column = np.where(np.arange(64) < 8, 6 + np.arange(64) / 64, 5.0)
    assert not decided(column, Operator.ABOVE, 0, Look()).interval.gate
    assert "only 8 prompts differ" in decided(column, Operator.ABOVE, 0, FIRST).interval.gate
    assert "at least 9 are needed" in decided(column, Operator.ABOVE, 9, FIRST).reason


def test_what_is_exact_waits_for_all_documents():
    column = np.full(64, 0.25)
    for operator, threshold, verdict in (
        (Operator.ABOVE, 0.05, Verdict.SUPPORTED),
        (Operator.ABOVE, 0.5, Verdict.REFUTED),
        (Operator.WITHIN, 0.5, Verdict.SUPPORTED),
    ):
        routing = mass(CURRENT, MLP).on(WRAPPED)
        assert decided(column, operator, threshold, FIRST, quantity=routing).verdict is Verdict.INCONCLUSIVE
        assert decided(column, operator, threshold, LAST, quantity=routing).verdict is verdict


def test_a_null_or_a_refutation_from_few_documents_says_so_at_any_look():
    column = np.random.default_rng(0).normal(1, 1, 64)
    wanted = "null claims and REFUTED verdicts want 256 documents; here are 64"
    assert wanted in decided(column, Operator.WITHIN, 5, FIRST).reason
    assert wanted in decided(column, Operator.ABOVE, 5, FIRST).reason
    assert wanted not in decided(column, Operator.ABOVE, 0, FIRST).reason


# Claims at a look ----------------------------------------------------------------------------------------------------

EFFECTS = [make(EMBEDDING, MLP).on(TRAINED) for make in (drop, resample)]


def claim_of(statements, under=()):
    quantities = tuple(dict.fromkeys(q for s in statements for q, _ in s.form.terms))
    return Claim("test_a.py::test", "", "", None, quantities, tuple(statements), under)


def at_look(claim, columns, documents, chosen=None, ranked=None, split=Split.CONFIRMATION):
    """The outcome of a claim after a look at the first of 256 documents (None: all of them)."""
    look = FIRST if documents else LAST
    step = claim.by_kind
    groups = [claim.statements[i : i + step] for i in range(0, len(claim.statements), step)]
    negations = tuple(negation(group, chosen or {}, ranked or {}) for group in groups)
    outcome = Outcome(claim, Standing(split, 0.01, "registered"), Verdict.INCONCLUSIVE, negations=negations)
    own = [filled_statement(s, chosen or {}) for s in claim.statements]
    beside = dict.fromkeys(s for made in negations for s in made.statements if s not in own)
    refuters = sum(made.refuters for made in negations)
    questions = [Question(s, 0.01, refuters, look=look) for s in (*own, *beside)]
    found = judge(questions, {q: column[:documents] for q, column in columns.items()})
    return outcome.decided(tuple(found[q] for q in questions), documents)


def normal(mean, sd=1.0):
    """256 documents of that very mean, in each of which the first 64 have it, too."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, sd, 64) for _ in range(4)]
    return np.concatenate([part - part.mean() + mean for part in parts])


def above(quantity, threshold=0.0):
    return Statement(Linear(((quantity, 1.0),)), Operator.ABOVE, threshold)


@pytest.mark.parametrize(
    ("means", "early", "last"),
    [
        ((-1, -1), Verdict.REFUTED, Verdict.REFUTED),  # under both kinds
        ((-1, 0), Verdict.INCONCLUSIVE, Verdict.REFUTED),  # the other is open, and may yet support it
        ((-1, 1), Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),  # they disagree
        ((1, 1), Verdict.SUPPORTED, Verdict.SUPPORTED),
        ((1, 0), Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
    ],
)
def test_under_two_kinds_a_claim_is_refuted_early_only_when_neither_is_open(means, early, last):
    claim = claim_of([above(effect) for effect in EFFECTS], (Kind.DROP, Kind.RESAMPLE))
    columns = dict(zip(EFFECTS, map(normal, means), strict=True))
    assert at_look(claim, columns, 64).verdict is early
    assert at_look(claim, columns, None).verdict is last


def test_one_refuted_statement_refutes_early_whatever_the_others_are():
    """The exact one waits for all documents; the sum of what may refute is the look's share."""
    constant = mass(CURRENT, MLP).on(WRAPPED)
    claim = claim_of([above(EFFECTS[0]), above(constant, 0.05)])
    refuted = at_look(claim, {EFFECTS[0]: normal(-1), constant: np.full(256, 0.25)}, 64)
    assert (refuted.verdict, refuted.documents) == (Verdict.REFUTED, 64)
    assert refuted.decisions[0].interval.alpha == 0.01 / 4 / 2
    supported = {EFFECTS[0]: normal(1), constant: np.full(256, 0.25)}
    assert at_look(claim, supported, 64).verdict is Verdict.INCONCLUSIVE
    assert at_look(claim, supported, None).verdict is Verdict.SUPPORTED


FAMILIES = (Family.CURRENT, Family.EMBEDDING, Family.OLDER)


@pytest.mark.parametrize(
    ("masses", "effects", "early", "last"),
    [
        ((5, 3, 1), (5, 3, 1), Verdict.REFUTED, Verdict.REFUTED),  # the title's negation holds in all its parts
        ((5, 4.7, 1), (5, 3, 1), Verdict.INCONCLUSIVE, Verdict.REFUTED),  # at 64, who leads in mass is open
        ((5, 3, 1), (5, 3, 4.7), Verdict.INCONCLUSIVE, Verdict.REFUTED),  # at 64, the family not chosen may lead
        ((5, 3, 1), (3, 5, 1), Verdict.SUPPORTED, Verdict.SUPPORTED),
    ],
)
def test_a_claim_with_picks_is_refuted_early_by_the_whole_negation_of_its_title(masses, effects, early, last):
    first, causal = most_massive(ATTN, ALL), most_causal(ATTN, ALL)
    weight = {family: mass(family, ATTN, ALL).on(TRAINED) for family in FAMILIES}
    effect = {family: drop(family, ATTN, ALL).on(TRAINED) for family in FAMILIES}
    terms = ((drop(causal, ATTN, ALL).on(TRAINED), 1.0), (drop(first, ATTN, ALL).on(TRAINED), -1.0))
    claim = claim_of([Statement(Linear(terms), Operator.ABOVE, 0.0)])
    rng = np.random.default_rng(1)
    columns = {quantity: normal(mean, 0.1) for quantity, mean in zip(weight.values(), masses, strict=True)}
    columns |= {quantity: normal(mean, 0.1) for quantity, mean in zip(effect.values(), effects, strict=True)}
    columns = {q: column + _centred(rng, 0.6) for q, column in columns.items()}
    given = {
        "chosen": {first: Family.CURRENT, causal: Family.EMBEDDING},
        "ranked": dict.fromkeys((first, causal), FAMILIES),
    }
    assert at_look(claim, columns, 64, **given).verdict is early
    assert at_look(claim, columns, None, **given).verdict is last


def _centred(rng, sd):
    parts = [rng.normal(0, sd, 64) for _ in range(4)]
    return np.concatenate([part - part.mean() for part in parts])


def test_what_has_looks_is_registered_and_samples():
    effect, error = above(EFFECTS[0]), above(closed_form_error(ATTN).on(WRAPPED))
    assert at_look(claim_of([effect]), {EFFECTS[0]: normal(1)}, 64).may_end_early
    null = Statement(effect.form, Operator.WITHIN, 3.0)
    assert at_look(claim_of([null]), {EFFECTS[0]: normal(1)}, 64).may_end_early
    assert not at_look(claim_of([effect]), {EFFECTS[0]: normal(1)}, 64, split=Split.EXPLORATION).may_end_early
    assert not at_look(claim_of([error]), {error.form.terms[0][0]: normal(1)}, 64).may_end_early


def test_a_correlation_over_sites_waits_for_all_documents_with_all_of_its_alpha():
    """Noise weakens it, and the more the fewer documents: what is REFUTED at 64 would be so too often."""
    rng = np.random.default_rng(7)
    masses = rng.uniform(size=30)
    effects = 0.5 * masses + 0.2 * rng.normal(size=30)
    truth, refuted = np.corrcoef(masses, effects)[0, 1], {64: 0, 256: 0}
    for documents in refuted:
        for _ in range(60):
            tables = [own[:, None] + 0.6 * rng.normal(size=(30, documents)) for own in (masses, effects)]
            column = influence(Statistic.PEARSON, *tables)
            bias = smoothing_bias(Statistic.PEARSON, *tables, column)
            question = Question(Statement(Linear((("r", 1.0),)), Operator.ABOVE, truth), 0.05, bias=bias)
            refuted[documents] += judge([question], {"r": column})[question].verdict is Verdict.REFUTED
    assert refuted[64] > 60 * 0.05 + 3 * (60 * 0.05 * 0.95) ** 0.5  # this is why
    claim = claim_of([above(mass_and_effect(Statistic.PEARSON, ATTN).on(TRAINED), 0.8)])
    outcome = Outcome(claim, Standing(Split.CONFIRMATION, 0.01, "registered"), Verdict.INCONCLUSIVE)
    assert not outcome.may_end_early


def test_the_first_documents_come_with_all_their_prompts(tmp_path):
    rows = [
        {"id": f"{document}.{index}", "text": "a b c", "document": f"d{document}"}
        for index in range(3)
        for document in range(9)
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    every = load_prompts(tmp_path / "p.jsonl")
    head = every.head(4)
    assert head.documents == every.documents[:4]
    assert len(head) == 12
    assert head.prompts == every.prompts[:12]
    assert every.head(None) is every.head(9) is every


@pytest.fixture
def run(pytester, micro, _quiet):
    """Registered claims over 200 confirmation prompts (looks at 50 would be too few: 100 and 200)."""
    rng = np.random.default_rng(1)
    with (pytester.path / "prompts.jsonl").open("w") as stream:
        for index in range(232):
            text = " ".join(f"w{token}" for token in rng.integers(0, 96, 8))
            split = "exploration" if index < 32 else "confirmation"
            stream.write(json.dumps({"id": f"p{index}", "text": text, "split": split}) + "\n")
    options = [f"--attnres-trained={micro / 'trained'}", f"--attnres-vanilla={micro / 'vanilla'}"]
    options += ["--attnres-prompts=prompts.jsonl", "-n0", "-p", "no:cacheprovider"]

    def once(*arguments, stated="effect > 5"):
        pytester.makepyfile(test_claims=CLAIMS.replace("{open}", stated))
        return pytester.runpytest_subprocess(*options, *arguments)

    return once


@pytest.fixture
def estimate(run, pytester, micro):
    """The mean of the effect that `test_open` is about: at that threshold, no limit clears it."""
    effect = drop(Family.EMBEDDING, MLP, EARLY)
    model = load_model(micro / "trained")
    prompts = load_prompts(pytester.path / "prompts.jsonl").part(Split.CONFIRMATION)
    return float(measure(model, prompts.token_ids(model.checkpoint.tokenizer_file), [effect])[effect].mean())


def test_a_decided_claim_is_measured_no_further_and_an_open_one_goes_on(run, pytester, estimate):
    stated = f"effect > {estimate}"
    run("--attnres-register", stated=stated)
    shutil.rmtree(pytester.path / ".attnres")
    result = run("--attnres-sequential", stated=stated)
    result.stdout.fnmatch_lines(["verdicts by documents: 3 at 100, 1 at 200; * forward rows saved (*)"])
    found = verdicts(pytester)
    assert {name: (entry["verdict"], entry["n"]) for name, entry in found.items()} == {
        "test_clear": ("SUPPORTED", 100),
        "test_refuted": ("REFUTED", 100),
        "test_null": ("SUPPORTED", 100),
        "test_open": ("INCONCLUSIVE", 200),
    }
    assert {n: s["confidence"] for n, e in found.items() for s in e["statements"]} == {
        name: pytest.approx(1 - 2 * entry["alpha"] / 2)
        for name, entry in found.items()  # (of 200, the first look: half)
    }
    record = record_of(pytester)
    # Three drops and the clean run over 200 prompts; two drops needed half of them.
    assert (record["run"]["early"]["rows"], record["run"]["early"]["rows_run"]) == (
        4 * 200,
        2 * 200 + 2 * 112,  # (7 chunks of 16)
    )
    columns = {column["name"].split(") ")[0]: column["n"] for column in record["columns"]}
    assert columns == {
        "drop(current, attn, early": 100,
        "drop(embedding, attn, early": 100,
        "drop(embedding, mlp, early": 200,
    }
    assert all(entry["p_holm"] is None for entry in found.values())


@pytest.mark.parametrize("stated", ["effect > {}", "abs(effect) < abs({})"])
@pytest.mark.parametrize("first", [True, False])
def test_an_inconclusive_claim_gets_no_second_chance_by_the_other_way_of_deciding(
    run, pytester, estimate, stated, first
):
    stated = stated.format(estimate)
    orders = [["--attnres-sequential"], []] if first else [[], ["--attnres-sequential"]]
    run("--attnres-register", stated=stated)
    run("--attnres-n-prompts=150", *orders[1], stated=stated)  # confirms nothing, so it takes no chance away
    run(*orders[0], stated=stated)
    assert verdicts(pytester)["test_open"]["verdict"] == "INCONCLUSIVE"
    run(*orders[0], stated=stated)  # the same way again is the same verdict
    assert verdicts(pytester)["test_open"]["verdict"] == "INCONCLUSIVE"
    run(*orders[1], stated=stated)
    entry = verdicts(pytester)["test_open"]
    assert entry["verdict"] == "ERROR"
    assert "would be a second chance at its alpha" in entry["reason"]
    assert verdicts(pytester)["test_null"]["verdict"] == "SUPPORTED"


@pytest.mark.parametrize("options", [[], ["--attnres-sequential"]])
def test_a_claim_left_open_by_looks_of_the_older_rule_gets_no_second_chance(run, pytester, estimate, options):
    """A store remembers the way in which it was decided; under that rule SUPPORTED of `>` alone could fall early."""
    stated = f"effect > {estimate}"
    run("--attnres-register", stated=stated)
    run("--attnres-sequential", stated=stated)
    (file,) = (pytester.path / ".attnres" / "judged").glob("open-*.json")
    store = Store(pytester.path / ".attnres")
    *parts, way = store.judged(file.stem)["parts"]
    assert way == "look by look, every verdict"
    file.unlink()
    stored_decisions.remember_open([*parts, "look by look"], store)
    run(*options, stated=stated)
    entry = verdicts(pytester)["test_open"]
    assert entry["verdict"] == "ERROR"
    assert "decided look by look with SUPPORTED of `>` alone falling early" in entry["reason"]
    assert "a second chance at its alpha: register it on fresh prompts" in entry["reason"]


def test_a_lock_that_does_not_say_what_may_fall_early_is_refused(run, pytester):
    """As locks of the older rule are, whose looks could find SUPPORTED of `>` alone."""
    run("--attnres-register")
    lock, ledger = pytester.path / "claims.lock", pytester.path / "claims.ledger"
    genuine, marked = lock.read_text(), 'early = ["SUPPORTED", "REFUTED"]'
    assert marked in genuine
    text = "".join(line for line in genuine.splitlines(True) if not line.startswith("early"))
    lock.write_text(text)
    row = json.loads(ledger.read_text())
    ledger.write_text(json.dumps({**row, "lock": hashlib.sha256(text.encode()).hexdigest()}) + "\n")
    result = run("--attnres-sequential")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*claims.lock does not say that SUPPORTED and REFUTED may fall at each look; type*"])
    assert run().ret != pytest.ExitCode.USAGE_ERROR  # at a fixed number of documents nothing is asked of it
    run("--attnres-register").stdout.fnmatch_lines(["*the looks of --attnres-sequential are in the lock"])
    assert lock.read_text() == genuine  # every mark and every share stays
    spent = [json.loads(line)["spent"] for line in ledger.read_text().splitlines()]
    assert spent == [row["spent"], {}]


STRATIFIED = """
import pytest
from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, LATE, MLP, TRAINED, UNTRAINED, claim, drop, mass, most_massive

@claim(effect=drop(CURRENT, ATTN, EARLY).on(TRAINED))
def test_clear(effect):
    assert effect > -5

@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED), other=drop(CURRENT, ATTN, EARLY).on(TRAINED))
def test_mixed(effect, other):
    assert other > -5
    assert abs(effect) < 5

@claim(most=mass(most_massive(MLP), MLP).on(TRAINED), least=mass(most_massive(MLP, rank=3), MLP).on(TRAINED))
def test_picked(most, least):
    assert most - least > 0

@claim(own=mass(CURRENT, MLP).on(UNTRAINED))
def test_constant(own):
    assert own > 0.05
"""


@pytest.mark.usefixtures("_quiet")
def test_looks_are_the_same_for_any_workers_with_strata_unequal_documents_and_mixed_claims(pytester, micro):
    rng = np.random.default_rng(4)
    rows = []
    for document in range(170):
        for index in range(1 + 3 * (document % 5 == 0)):
            text = " ".join(f"w{token}" for token in rng.integers(0, 96, 6))
            split = "exploration" if document < 20 else "confirmation"
            stratum = "ab"[document % 2]
            row = {"id": f"{document}.{index}", "text": text, "document": f"d{document}", "stratum": stratum}
            rows.append(json.dumps(row | {"split": split}))
    (pytester.path / "prompts.jsonl").write_text("\n".join(rows))
    pytester.makepyfile(test_claims=STRATIFIED)
    options = [f"--attnres-trained={micro / 'trained'}", f"--attnres-vanilla={micro / 'vanilla'}"]
    options += ["--attnres-prompts=prompts.jsonl", "-p", "no:cacheprovider"]
    pytester.runpytest_subprocess(*options, "-n0", "--attnres-register")

    def decided(*arguments):
        shutil.rmtree(pytester.path / ".attnres")
        pytester.runpytest_subprocess(*options, "--attnres-sequential", *arguments)
        return verdicts(pytester)

    alone = decided("-n0")
    assert decided("-n2") == alone
    assert decided("-n0", "-k", "picked") == {"test_picked": alone["test_picked"]}
    found = {name: (entry["verdict"], entry["n"]) for name, entry in alone.items()}
    assert found == {
        "test_clear": ("SUPPORTED", 75),
        "test_mixed": ("SUPPORTED", 75),
        "test_picked": ("SUPPORTED", 75),
        "test_constant": ("SUPPORTED", 150),  # decided by value, so at the last look alone
    }
    # Of 150 documents the first look has 75, and half of alpha: 37 are too few to be looked at.
    assert {s["confidence"] for s in alone["test_mixed"]["statements"]} == {1 - alone["test_mixed"]["alpha"]}
    assert [row["stratum"] for row in alone["test_clear"]["by_stratum"]] == ["a", "b"]
    assert sum(row["n"] for row in alone["test_clear"]["by_stratum"]) == 75


def test_documents_come_in_an_order_that_knows_nothing_of_their_size(tmp_path):
    """Were a document placed by the first of its prompts' hashes, those of many prompts would all come early."""
    sizes = {f"d{n}": 20 if n % 8 == 0 else 2 if n % 8 == 1 else 1 for n in range(400)}
    rows = [{"id": f"{d}.{i}", "text": "a b", "document": d} for d, size in sizes.items() for i in range(size)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    first = load_prompts(tmp_path / "p.jsonl").documents[:100]
    assert 5 <= sum(sizes[document] == 20 for document in first) <= 20
    assert 5 <= sum(sizes[document] == 2 for document in first) <= 20


def test_a_limit_on_prompts_takes_whole_documents(tmp_path):
    pairs = [(document, index) for document in range(9) for index in range(3)]
    rows = [{"id": f"{d}.{i}", "text": "a b", "document": f"d{d}", "split": "exploration"} for d, i in pairs]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    every = load_prompts(tmp_path / "p.jsonl")
    assert [len(every.part(Split.EXPLORATION, limit)) for limit in (1, 2, 3, 8, 26, 27, 99)] == [1, 2, 3, 6, 24, 27, 27]


def test_a_failing_plain_path_is_its_claims_error_and_no_crash(run, pytester):
    run("--attnres-register")
    shutil.rmtree(pytester.path / ".attnres")
    broken = """
        import attnres_core.engine.plain_path as plain
        def fail(*_):
            raise ValueError("the plain path is broken")
        plain.plain_chunk = fail
    """
    pytester.makeconftest(broken)
    result = run()
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    found = verdicts(pytester)
    assert {entry["verdict"] for entry in found.values()} == {"ERROR"}
    assert all("the plain path is broken" in entry["reason"] for entry in found.values())


@pytest.mark.parametrize(
    "arguments", [["--attnres-n-prompts=150"], ["--attnres-n-prompts=150", "--attnres-sequential"]]
)
def test_fewer_prompts_than_were_registered_confirm_nothing(run, pytester, arguments):
    run("--attnres-register")
    run(*arguments)
    found = verdicts(pytester)
    assert {entry["registration"] for entry in found.values()} == {"fewer prompts"}
    assert "150 of 200 confirmation prompts: never confirmatory" in found["test_clear"]["registration_note"]


def test_an_open_verdict_shows_an_interval_that_holds_the_threshold():
    """At the level that would have supported it, which is the wider one when a look may spend half of alpha."""
    column = np.random.default_rng(0).normal(1, 1, 256)
    last = looks(256, sequential=True)[-1]
    limits = [decided(column, Operator.ABOVE, -9, look, 0.01).interval.low for look in (Look(), last)]
    between = sum(limits) / 2
    decision = decided(column, Operator.ABOVE, between, last, 0.01)
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.interval.low <= between <= decision.interval.high
    assert decision.interval.alpha == 0.005
