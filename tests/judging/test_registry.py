"""Registration: claims, their shares of alpha and their prompts are written down, and nothing is refunded."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from support.checkpoint_copies import rewrite
from support.small_suite import CLAIMS, record_of, verdicts

from attnres_core.claims.claim import ALPHA, CLAIM_ALPHA, Claim
from attnres_core.claims.statements import Linear, Operator, Statement
from attnres_core.prompts import Split
from attnres_core.quantities.ablations import drop
from attnres_core.registration.ledger import LEDGER, LOCK, PromptDigests
from attnres_core.registration.registry import Registry, lock_folder

pytestmark = pytest.mark.usefixtures("_quiet")
EFFECT = drop("embedding", "mlp", "early").on("trained")


def a_claim(name, threshold=0.02):
    statement = Statement(Linear(((EFFECT, 1.0),)), Operator.ABOVE, threshold)
    return Claim(f"some/where/test_a.py::{name}", name, "a", None, (EFFECT,), (statement,))


def registered(folder, *claims, prompts="p1", documents=(), **given):
    digests = PromptDigests(tuple(documents))
    return Registry(folder).register(claims, prompts, **{"seen": {}, "today": "2026-11-23", "digests": digests} | given)


def test_an_unregistered_claim_is_exploratory(tmp_path):
    standing = Registry(tmp_path).standing(a_claim("test_x"), "p1")
    assert (standing.split, standing.status, standing.alpha) == (Split.EXPLORATION, "exploratory", CLAIM_ALPHA)


def test_registered_claims_share_alpha_and_are_confirmed_on_their_prompts(tmp_path):
    registered(tmp_path, a_claim("test_x"), a_claim("test_y"))
    registry = Registry(tmp_path)
    standing = registry.standing(a_claim("test_x"), "p1")
    assert (standing.split, standing.status, standing.alpha) == (Split.CONFIRMATION, "registered", ALPHA / 4)
    assert registry.spent(("p1", ())) == ALPHA / 2  # half is left for what comes later
    assert registry.standing(a_claim("test_x"), "p2").status == "other prompts"
    assert registry.standing(a_claim("test_x"), "p1", quick=True).status == "quick"


def test_the_lock_is_one_readable_entry_a_claim_in_order(tmp_path):
    registered(tmp_path, a_claim("test_y[drop(a), b-0.5]", 0.1), a_claim("test_x"), budget=64)
    text = (tmp_path / LOCK).read_text()
    expected = f"""["test_a.py::test_x"]
statements = [
    "drop(embedding, mlp, early) on trained [delta_nll] > 0.02",
]
alpha = {ALPHA / 64!r}
prompts = "p1"
registered = "2026-11-23"
"""
    assert expected in text
    assert text.index("test_x") < text.index("test_y")


def test_a_changed_statement_is_an_error_that_shows_both(tmp_path):
    registered(tmp_path, a_claim("test_x"))
    error = Registry(tmp_path).standing(a_claim("test_x", 0.03), "p1").error
    assert "registered  drop(embedding, mlp, early) on trained [delta_nll] > 0.02" in error
    assert "now         drop(embedding, mlp, early) on trained [delta_nll] > 0.03" in error


def test_a_claim_restated_on_the_same_prompts_is_post_hoc_and_says_since_when(tmp_path):
    registered(tmp_path, a_claim("test_x"), a_claim("test_y"), budget=8, today="2026-01-02")
    key, told = "test_a.py::test_x", "restated; an earlier statement was registered 2026-01-02"
    registered(tmp_path, a_claim("test_x", 0.03), a_claim("test_y"), today="2026-02-03")
    registry = Registry(tmp_path)
    assert (registry.entries[key].post_hoc, registry.entries["test_a.py::test_y"].post_hoc) == (told, "")
    standing = registry.standing(a_claim("test_x", 0.03), "p1")
    assert (standing.status, standing.note) == ("post hoc", told)
    seen = {a_claim("test_y").node_id: "its columns were measured before"}
    registered(tmp_path, a_claim("test_y", 0.03), seen=seen)
    both = f"its columns were measured before; {told}"
    assert Registry(tmp_path).entries["test_a.py::test_y"].post_hoc == both


def test_a_claim_withdrawn_and_registered_again_says_since_when(tmp_path):
    registered(tmp_path, a_claim("test_x"), a_claim("test_y"), budget=8, today="2026-01-02")
    registered(tmp_path, a_claim("test_y"), whole_files=True)
    seen = {a_claim("test_x").node_id: "its columns were measured before"}
    registered(tmp_path, a_claim("test_x", 0.03), a_claim("test_y"), seen=seen, today="2026-02-03")
    registry = Registry(tmp_path)
    told = (
        f"its columns were measured before; restated; `{EFFECT} > 0.02` of test_a.py::test_x was registered 2026-01-02"
    )
    assert registry.standing(a_claim("test_x", 0.03), "p1").note == told
    assert registry.standing(a_claim("test_y"), "p1").note == ""


def test_a_claim_restated_for_fresh_prompts_is_not_post_hoc(tmp_path):
    registered(tmp_path, a_claim("test_x"), budget=8, documents=["a", "b"])
    registered(tmp_path, a_claim("test_x", 0.03), prompts="p2", documents=["c"], budget=8)
    assert Registry(tmp_path).entries["test_a.py::test_x"].post_hoc == ""
    registered(tmp_path, a_claim("test_x", 0.04), prompts="p3", documents=["c", "d"], budget=8)
    assert "restated; " in Registry(tmp_path).entries["test_a.py::test_x"].post_hoc


def test_alpha_is_never_refunded(tmp_path):
    registered(tmp_path, a_claim("test_x"), a_claim("test_y"), budget=4)
    changes = registered(tmp_path, a_claim("test_y"), whole_files=True)
    assert changes == ["withdrawn: test_a.py::test_x (its alpha stays spent)"]
    assert Registry(tmp_path).spent(("p1", ())) == pytest.approx(ALPHA / 2)
    # The changed one pays again:
    registered(tmp_path, a_claim("test_y", 0.03), a_claim("test_z"), whole_files=True, budget=4)
    registry = Registry(tmp_path)
    assert registry.spent(("p1", ())) == pytest.approx(ALPHA)
    assert {entry.alpha for entry in registry.entries.values()} == {ALPHA / 4}
    with pytest.raises(ValueError, match=r"the error budget of this prompt set is spent .* register them on a fresh"):
        registered(tmp_path, a_claim("test_new"))
    registered(tmp_path, a_claim("test_new"), prompts="p2")
    assert Registry(tmp_path).spent(("p2", ())) == pytest.approx(ALPHA / 2)


def test_every_registration_leaves_half_of_what_is_left(tmp_path):
    for times, name in enumerate(("test_x", "test_y", "test_z"), start=1):
        registered(tmp_path, a_claim(name))
        assert Registry(tmp_path).spent(("p1", ())) == pytest.approx(ALPHA * (1 - 0.5**times))


def test_claims_whose_file_is_gone_are_withdrawn_with_the_whole_folder(tmp_path):
    registered(tmp_path, a_claim("test_x"), budget=4)
    kept = tmp_path / "deeper" / "test_a.py"
    kept.parent.mkdir()
    kept.touch()
    other = replace(a_claim("test_y"), node_id="test_b.py::test_y")
    assert registered(tmp_path, other, whole_folder=True, budget=4) == ["registered: test_b.py::test_y"]
    kept.unlink()
    assert registered(tmp_path, other, whole_files=True, budget=4) == []  # (one file of a sparse checkout)
    gone = ["withdrawn: test_a.py::test_x (its alpha stays spent)"]
    assert registered(tmp_path, other, whole_folder=True, budget=4) == gone


def test_a_withdrawn_claim_under_another_name_says_since_when(tmp_path):
    registered(tmp_path, a_claim("test_x"), budget=4)
    registered(tmp_path, a_claim("test_y"), whole_files=True, budget=4, today="2026-11-24")
    standing = Registry(tmp_path).standing(a_claim("test_y"), "p1")
    assert standing.note == "registered on these prompts before, on 2026-11-23"


def test_a_part_of_a_file_withdraws_nothing(tmp_path):
    registered(tmp_path, a_claim("test_x"), a_claim("test_y"), budget=8)
    assert registered(tmp_path, a_claim("test_x")) == []
    assert len(Registry(tmp_path).entries) == 2


def test_a_claim_whose_data_were_seen_is_post_hoc(tmp_path):
    claim = a_claim("test_x")
    registered(tmp_path, claim, seen={claim.node_id: "measured before"})
    standing = Registry(tmp_path).standing(claim, "p1")
    assert (standing.status, standing.note) == ("post hoc", "measured before")


def test_an_edited_lock_or_ledger_is_refused(tmp_path):
    registered(tmp_path, a_claim("test_x"), budget=8)
    registered(tmp_path, a_claim("test_y"))
    lock, ledger = tmp_path / LOCK, tmp_path / LEDGER
    text, lines = lock.read_text(), ledger.read_text()
    lock.write_text(text.replace("0.02", "0.01"))
    with pytest.raises(ValueError, match="is not what was registered last; restore it"):
        Registry(tmp_path)
    lock.write_text(text)
    first = json.loads(lines.splitlines()[0]) | {"spent": {}}
    ledger.write_text("\n".join([json.dumps(first), *lines.splitlines()[1:]]) + "\n")
    with pytest.raises(ValueError, match=r"line 2 of claims.ledger does not follow the line before it"):
        Registry(tmp_path)
    lock.unlink()
    ledger.write_text(lines)
    with pytest.raises(ValueError, match="is not what was registered last"):
        Registry(tmp_path)


def test_a_run_from_registration_to_verdict(suite, pytester):
    """Unregistered: exploratory. Registered before measuring: confirmed; after: post hoc. Changed: an error."""
    first = suite("-n", "0", "-k", "refuted")
    nothing = "No claim is registered: nothing here confirms anything."
    first.stdout.fnmatch_lines(["1 exploratory: not registered: decided on the exploration*", nothing])
    result = suite("-n", "0", "-k", "supported or refuted", "--attnres-register", "--attnres-budget-claims=10")
    lines = ["attnres: registered: test_claims.py::test_refuted", "*claims.lock, 2 claims; commit it and claims.ledger"]
    result.stdout.fnmatch_lines(lines)
    assert result.ret == pytest.ExitCode.OK
    suite("-n", "0", "-k", "supported").stdout.fnmatch_lines(
        ["1 of 2 registered claims (controls included) decided; 1 not in this run."]
    )
    for workers in ("0", "2"):
        told = suite("-n", workers, "-k", "supported or refuted").stdout
        told.fnmatch_lines(
            [
                "2 of 2 registered claims (controls included) decided.",
                "The probability of any wrong verdict among 2 claims *",
            ]
        )
        entries = record_of(pytester)["claims"]
        assert {entry["registration"] for entry in entries} == {"registered"}
        assert {(entry["split"], entry["alpha"]) for entry in entries} == {("confirmation", ALPHA / 10)}
        assert all(entry["p_value"] <= entry["p_holm"] <= 1 for entry in entries)
        assert all(entry["p_value"] <= entry["p_by"] <= 1 for entry in entries)
        assert all(entry["p_value"] <= entry["p_max_t"] <= 1 for entry in entries)
    source = (pytester.path / "test_claims.py").read_text()
    other = source.replace("assert effect > 5", "assert effect > 4")
    changed = suite("-n", "0", "-k", "refuted", claims=other)
    changed.assert_outcomes(errors=1)
    changed.stdout.fnmatch_lines(["*  registered  drop(embedding, mlp, early) on trained [[]delta_nll] > 5*"])
    for place, folder in enumerate(sorted((pytester.path / ".attnres/units").iterdir())):
        folder.rename(folder.with_name(f"{place:032d}"))  # as another version's arithmetic would have named it
    suite("-n", "0", "-k", "refuted", "--attnres-register", claims=other)
    post_hoc = suite("-n", "0", "-k", "refuted", claims=other)
    before = "1 post hoc: confirmation columns of trained * were measured before"
    post_hoc.stdout.fnmatch_lines([f"{before}; restated; an earlier statement was registered *"])


def test_what_was_seen_of_one_checkpoint_was_seen(suite, pytester, micro, tmp_path):
    """The registering command names one checkpoint, and the lock none: another's columns make a claim post hoc."""
    other = shutil.copytree(micro / "trained", tmp_path / "another")
    rewrite(other, lambda tensors: tensors["model.norm.weight"].mul_(2))
    register = ("-n", "0", "-k", "refuted or later", "--attnres-register", "--attnres-budget-claims=10")
    suite(*register)
    suite("-n", "0", "-k", "refuted", f"--attnres-trained={other}")
    later = """
@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED))
def test_later(effect):
    assert effect > 4

@claim(effect=drop(EMBEDDING, ATTN, EARLY).on(TRAINED))
def test_later_and_unseen(effect):
    assert effect > 4
"""
    suite(*register, claims=CLAIMS + later)
    seen, unseen = (Registry(pytester.path).entries[f"test_claims.py::test_later{end}"] for end in ("", "_and_unseen"))
    assert seen.post_hoc.startswith("confirmation columns of another (")
    assert "of trained" not in seen.post_hoc
    assert not unseen.post_hoc


def test_registering_and_planning_may_be_asked_for_in_the_ini_file(suite, pytester):
    pytester.makeini("[pytest]\nattnres_register = true\nattnres_budget_claims = 20")
    suite("-n", "0").stdout.fnmatch_lines(["*claims.lock, 8 claims; commit it and claims.ledger"])
    assert f"alpha = {ALPHA / 20!r}" in (pytester.path / LOCK).read_text()
    pytester.makeini("[pytest]\nattnres_plan = true")
    suite("-n", "0", "-k", "closed").stdout.fnmatch_lines(["prompts for 80 % power at each claim's alpha, *"])


@pytest.mark.parametrize("option", ["--attnres-register", "--attnres-plan"])
def test_registering_and_planning_need_one_process(suite, option):
    result = suite(option, "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{option} needs one process: add -n 0*"])


def test_a_plan_reads_no_confirmation_data(suite, pytester):
    result = suite("-n", "0", "--attnres-plan")
    result.stdout.fnmatch_lines(
        ["prompts for 80 % power at each claim's alpha, *(40 here)", "*test_claims.py supported * 16 prompts"]
    )
    models = (pytester.path / ".attnres/units").iterdir()
    chunks = [len({file.parent for file in model.rglob("*.safetensors")}) for model in models]
    assert sorted(chunks) == [2, 2, 3, 3]  # 40 exploration prompts in chunks of 16, 32 of them the plain way too
    assert not (pytester.path / "reports").exists()


def test_the_plan_command_is_the_option(pytester, micro):
    pytester.makepyfile(test_claims=CLAIMS)
    pytester.makeini("[pytest]\nfilterwarnings = error")
    given = [f"--attnres-{name}={micro / name}" for name in ("trained", "vanilla")]
    given += [f"--attnres-prompts={micro / 'prompts.jsonl'}", "-k", "closed"]
    result = pytester.run(sys.executable, "-m", "attnres_core", "plan", "test_claims.py", *given)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["prompts for 80 % power at each claim's alpha, *", "*test_claims.py closed_form*16 prompts"]
    )


OTHERS = """
from attnres_core import ATTN, LATE, OLDER, TRAINED, claim, drop

@claim(effect=drop(OLDER, ATTN, LATE).on(TRAINED))
def test_elsewhere(effect):
    assert abs(effect) < 4
"""
SHUFFLED = """
import random

def pytest_collection_modifyitems(items):
    random.Random({seed}).shuffle(items)
"""


def test_a_verdict_is_the_same_alone_in_its_file_in_the_suite_in_any_order_by_any_workers(suite, pytester):
    """Limits and all, each time from an empty store, so that nothing is read from the run before."""
    suite("-n", "0", "--attnres-register", test_others=OTHERS)

    def decided(*arguments, order=""):
        for name in (".attnres", "reports"):
            shutil.rmtree(pytester.path / name, ignore_errors=True)
        suite(*arguments, test_others=OTHERS, conftest=order)
        whole_set = (
            "p_holm",
            "p_by",
            "p_max_t",
            "p_value",
        )  # adjusted over the set: there only when the set was decided
        return {n: {k: v for k, v in e.items() if k not in whole_set} for n, e in verdicts(pytester).items()}

    whole = decided("-n", "0")
    assert len(whole) == 9
    assert {entry["registration"] for entry in whole.values()} == {"registered"}
    in_file = {name: entry for name, entry in whole.items() if name != "test_elsewhere"}
    assert decided("-n", "1", order=SHUFFLED.replace("{seed}", "1")) == whole
    assert decided("-n", "3") == whole
    assert decided("-n", "2", "test_claims.py", order=SHUFFLED.replace("{seed}", "2")) == in_file
    parametrized = next(name for name in whole if name.startswith("test_parametrized"))
    for name in ("test_inconclusive", "test_picked", parametrized):
        assert decided("-n", "0", f"test_claims.py::{name}") == {name: whole[name]}


def test_the_nearest_lock_upward_is_the_lock_of_a_part(tmp_path):
    one, two = tmp_path / "tests/a/test_one.py", tmp_path / "tests/b/test_two.py"
    one.parent.mkdir(parents=True)
    assert lock_folder([one, two], tmp_path) == tmp_path / "tests"
    assert lock_folder([one], tmp_path) == tmp_path / "tests/a"
    (tmp_path / "tests" / LEDGER).touch()  # a lock that was lost is missed, not started anew
    assert lock_folder([one], tmp_path) == tmp_path / "tests"
    (tmp_path / LOCK).touch()
    assert lock_folder([one], tmp_path) == tmp_path / "tests"
    assert lock_folder([one], tmp_path / "tests/a") == tmp_path / "tests/a"  # not beyond the top
    assert lock_folder([one], tmp_path / "elsewhere") == tmp_path / "tests/a"


def put(pytester, **claims):
    """Files of claims, by their paths with `__` for a slash; makes their folders packages."""
    for name, source in claims.items():
        file = pytester.path / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
        (file.parent / "__init__.py").touch()


def told(pytester):
    """Each claim's registration, split and alpha, of the last run."""
    return {n: (e["registration"], e["split"], e["alpha"]) for n, e in verdicts(pytester).items()}


def test_a_part_of_the_claims_is_decided_and_registered_by_the_lock_of_all(suite, pytester, monkeypatch):
    put(pytester, tests__a__test_one=OTHERS, tests__b__test_two=OTHERS.replace("elsewhere", "another"))
    suite("-n", "0", "--attnres-register", "--attnres-budget-claims=10", "tests", claims="")
    for part in (["tests", "-k", "one"], ["tests/a"]):
        suite("-n", "0", *part, claims="")
        assert told(pytester) == {"test_elsewhere": ("registered", "confirmation", ALPHA / 10)}

    third = OTHERS.replace("elsewhere", "third").replace("4", "5")
    put(pytester, tests__a__test_three=third)
    monkeypatch.chdir(pytester.path / "tests/a")  # no ini file: pytest's root folder is now below the lock
    result = suite("-n", "0", "--attnres-register", claims="")
    said = ["attnres: registered: test_three.py::test_third", f"attnres: {pytester.path / 'tests' / LOCK}, 3 claims;*"]
    result.stdout.fnmatch_lines(said)
    assert not (pytester.path / "tests/a" / LOCK).exists()


def test_deselecting_a_claim_withdraws_nothing(suite):
    suite("-n", "0", "--attnres-register", "--attnres-budget-claims=20")
    result = suite("-n", "0", "--attnres-register", "--deselect=test_claims.py::test_refuted")
    result.stdout.fnmatch_lines(["attnres: nothing changed", "*claims.lock, 8 claims; commit it and claims.ledger"])


@pytest.mark.parametrize("arguments", [["-n", "0", "--attnres-register"], ["-n", "2"]])
def test_two_files_of_one_name_are_refused_before_anything_is_measured(suite, pytester, arguments):
    put(pytester, a__test_one=OTHERS, b__test_one=OTHERS)
    result = suite(*arguments, "a", "b", claims="")
    said = f"two files of claims are named test_one.py: {pytester.path}/a/test_one.py and {pytester.path}/b/test_one.py"
    assert f"{said}; a lock knows a claim by the names of its file and its test, so rename" in "".join(
        [result.stderr.str(), result.stdout.str()]
    )
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if "2" in arguments else pytest.ExitCode.USAGE_ERROR)
    assert not list(pytester.path.rglob("*.safetensors"))
    assert not list(pytester.path.rglob(LOCK))


def test_another_prompt_in_the_file_refunds_nothing(tmp_path):
    """The ledger names the confirmation prompts: a set that shares one shares the budget, and data seen stay seen."""
    documents = [f"p{index}" for index in range(5)]
    registered(tmp_path, a_claim("test_x"), a_claim("test_y"), documents=documents, budget=2)
    with pytest.raises(ValueError, match="the error budget of this prompt set is spent"):
        registered(tmp_path, a_claim("test_x", 0.01), prompts="p2", documents=[*documents, "fresh"])
    registered(tmp_path, a_claim("test_x", 0.01), prompts="p3", documents=["fresh", "fresher"])
    assert Registry(tmp_path).entries["test_a.py::test_x"].post_hoc == ""


def test_a_claim_moved_to_overlapping_prompts_is_post_hoc(tmp_path):
    registered(tmp_path, a_claim("test_x"), documents=["p1", "p2"], budget=4)
    registered(tmp_path, a_claim("test_x", 0.01), prompts="p2", documents=["p2", "p3"])
    registry = Registry(tmp_path)
    assert "in another set of prompts" in registry.entries["test_a.py::test_x"].post_hoc
    assert registry.spent(("p2", ["p2"])) == pytest.approx(2 * ALPHA / 4)
    assert registry.spent(("p4", ["p9"])) == 0
