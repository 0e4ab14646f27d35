"""Deciding early: looks and what they spend, what may fall when, what is left unmeasured, and no second chance."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from scipy import stats
from support.small_suite import record_of, verdicts

from attnres_core.claims.statements import Linear, Operator, Statement, Verdict
from attnres_core.judging.decisions import Question, judge
from attnres_core.prompts import Split, load_prompts
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
    assert effect > {threshold}
"""


def test_a_quarter_and_a_half_and_the_whole():
    assert looks(256, sequential=True) == (Look(64, 0.25, False), Look(128, 0.25, False), Look(None, 0.5, True))
    assert looks(1000, sequential=True)[:2] == (Look(250, 0.25, False), Look(500, 0.25, False))


@pytest.mark.parametrize("documents", [1, 16, 127, 128, 255, 256, 300, 5000])
def test_looks_grow_and_spend_all_of_alpha_whatever_the_size(documents):
    found = looks(documents, sequential=True)
    sizes = [look.documents for look in found[:-1]]
    assert sizes == sorted(set(sizes))
    assert all(64 <= size < documents for size in sizes)
    assert sum(look.share for look in found) == 1
    assert [look.final for look in found] == [False] * (len(found) - 1) + [True]
    assert looks(documents, sequential=False) == (Look(None, 1.0, True),)


def decided(column, operator, threshold, look, alpha=0.01):
    question = Question(Statement(Linear((("x", 1.0),)), operator, threshold), alpha, look=look)
    return judge([question], {"x": column})[question]


def test_before_the_last_look_there_is_supported_of_above_or_nothing():
    column = np.random.default_rng(0).normal(1, 1, 64)
    early, last = looks(256, sequential=True)[0], looks(256, sequential=True)[-1]
    assert decided(column, Operator.ABOVE, 0, early).verdict is Verdict.SUPPORTED
    for operator, threshold in ((Operator.ABOVE, 5), (Operator.BELOW, 5), (Operator.WITHIN, 5), (Operator.WITHIN, 0.1)):
        assert decided(column, operator, threshold, early).verdict is Verdict.INCONCLUSIVE
        assert decided(column, operator, threshold, last).verdict is not Verdict.INCONCLUSIVE


def test_a_look_spends_its_share_on_support_and_the_last_all_of_alpha_on_the_rest():
    column = np.random.default_rng(0).normal(1, 1, 64)
    first, _, last = looks(256, sequential=True)
    assert decided(column, Operator.ABOVE, 0, first).interval.alpha == 0.01 / 4
    assert decided(column, Operator.ABOVE, 0, last).interval.alpha == 0.01 / 2
    assert decided(column, Operator.ABOVE, 5, last).interval.alpha == 0.01  # refuted
    assert decided(column, Operator.WITHIN, 5, last).interval.alpha == 0.01
    once = decided(column, Operator.ABOVE, 0.8, Look())
    assert decided(column, Operator.ABOVE, 0.8, first).p_value == pytest.approx(4 * once.p_value)


def test_the_tail_gate_is_stricter_before_the_last_look():
    column = -np.random.default_rng(5).lognormal(0, 0.5, 64)  # a long tail below: the lower limit is in doubt
    first, _, last = looks(256, sequential=True)
    skewness = abs(((column - column.mean()) ** 3).mean() / column.std() ** 3)
    z = stats.norm.ppf([1 - 0.01 / 4, 1 - 0.01 / 2])  # the levels of the two looks
    assert z[0] * skewness / 8 > 0.5
    assert z[1] * skewness / 8 < 1
    assert decided(column, Operator.ABOVE, -50, first).verdict is Verdict.INCONCLUSIVE
    assert decided(column, Operator.ABOVE, -50, last).verdict is Verdict.SUPPORTED


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

    def once(*arguments, threshold=5):
        pytester.makepyfile(test_claims=CLAIMS.replace("{threshold}", str(threshold)))
        return pytester.runpytest_subprocess(*options, *arguments)

    return once


def test_a_decided_claim_is_measured_no_further(run, pytester):
    run("--attnres-register")
    result = run("--attnres-sequential")
    result.stdout.fnmatch_lines(["verdicts by documents: 1 at 100, 3 at 200; * forward rows saved (*)"])
    found = verdicts(pytester)
    assert {name: (entry["verdict"], entry["n"]) for name, entry in found.items()} == {
        "test_clear": ("SUPPORTED", 100),
        "test_refuted": ("REFUTED", 200),
        "test_null": ("SUPPORTED", 200),
        "test_open": ("REFUTED", 200),
    }
    record = record_of(pytester)
    # Three drops and the clean run over 200 prompts; one drop needed half of them.
    assert (record["run"]["early"]["rows"], record["run"]["early"]["rows_run"]) == (
        4 * 200,
        3 * 200 + 112,
    )  # (7 chunks of 16)
    columns = {column["name"].split(",")[0]: column["n"] for column in record["columns"]}
    assert columns == {"drop(current": 100, "drop(embedding": 200}
    assert all(entry["p_holm"] is None for entry in found.values())


@pytest.mark.parametrize("first", [True, False])
def test_an_inconclusive_claim_gets_no_second_chance_by_the_other_way_of_deciding(run, pytester, first):
    run("--attnres-register")
    run()
    threshold = verdicts(pytester)["test_refuted"]["estimate"]  # at the estimate, no limit clears it
    for name in ("claims.lock", "claims.ledger"):
        (pytester.path / name).unlink()
    orders = [["--attnres-sequential"], []] if first else [[], ["--attnres-sequential"]]
    run("--attnres-register", threshold=threshold)
    run("--attnres-n-prompts=150", *orders[1], threshold=threshold)  # confirms nothing, so it takes no chance away
    run(*orders[0], threshold=threshold)
    assert verdicts(pytester)["test_open"]["verdict"] == "INCONCLUSIVE"
    run(*orders[0], threshold=threshold)  # the same way again is the same verdict
    assert verdicts(pytester)["test_open"]["verdict"] == "INCONCLUSIVE"
    run(*orders[1], threshold=threshold)
    entry = verdicts(pytester)["test_open"]
    assert entry["verdict"] == "ERROR"
    assert "would be a second chance at its alpha" in entry["reason"]
    assert verdicts(pytester)["test_null"]["verdict"] == "SUPPORTED"


def test_a_lock_without_looks_is_refused(run, pytester):
    run("--attnres-register")
    lock, ledger = pytester.path / "claims.lock", pytester.path / "claims.ledger"
    text = "".join(line for line in lock.read_text().splitlines(True) if not line.startswith(("looks", "spending")))
    lock.write_text(text)
    row = json.loads(ledger.read_text())
    ledger.write_text(json.dumps({**row, "lock": hashlib.sha256(text.encode()).hexdigest()}) + "\n")
    result = run("--attnres-sequential")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*claims.lock holds no looks; --attnres-register writes them"])
    run("--attnres-register").stdout.fnmatch_lines(["*the looks of --attnres-sequential are in the lock"])
    assert "looks = [0.25, 0.5, 1.0]" in lock.read_text()


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
    assert decided("-n3") == alone
    assert decided("-n0", "-k", "picked") == {"test_picked": alone["test_picked"]}
    found = {name: (entry["verdict"], entry["n"]) for name, entry in alone.items()}
    assert found == {
        "test_clear": ("SUPPORTED", 75),
        "test_mixed": ("SUPPORTED", 150),
        "test_picked": ("SUPPORTED", 75),
        "test_constant": ("SUPPORTED", 150),  # decided by value, so at the last look alone
    }
    # A claim that cannot end early keeps all of its alpha for the one look that it has.
    assert {s["confidence"] for s in alone["test_mixed"]["statements"]} == {1 - 2 * alone["test_mixed"]["alpha"]}
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
