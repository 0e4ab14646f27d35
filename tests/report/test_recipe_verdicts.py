"""Registered claims about a recipe: what is registered, which seeds count, and what decides."""

import json
from pathlib import Path

import pytest
from test_across_seeds import TEXT, entry, record, statement

from attnres_core.__main__ import main
from attnres_core.judging import recipe_registration
from attnres_core.judging.recipe_registration import LEDGER, LOCK, register
from attnres_core.report.recipe_verdicts import as_markdown, decide_registered, waiting

HYPOTHESES = Path(__file__).parents[2] / "hypotheses"
KEY = "test_older.py::test_older_blocks_are_necessary"
ENDS = ("", *"abcdefghi")
SHARE = 0.05 / 128
SEEDS = tuple(range(101, 109))


def lock_checkpoint_claims(monkeypatch, margin):
    """Ten registered claims, so that each has .005 about a recipe; the default budget over ten."""
    entry_of = type("Entry", (), {"statements": (f"{TEXT} > {margin}",), "alpha": SHARE})
    entries = {f"{KEY}{end}": entry_of for end in ENDS}
    monkeypatch.setattr(recipe_registration, "Registry", lambda folder: type("Registry", (), {"entries": entries}))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of ten registered claims about a checkpoint."""
    lock_checkpoint_claims(monkeypatch, 0.02)
    return tmp_path


@pytest.fixture
def lock(folder):
    return register(folder, [KEY], ["tiny"], SEEDS)


@pytest.fixture
def give(tmp_path):
    """The records and the manifests of eight seeds, with each one's verdict."""

    def given(verdicts, recipe=None, alpha=SHARE, **changed):
        records, manifests = {}, {}
        for seed, verdict in zip(SEEDS, verdicts, strict=True):
            given = {"alpha": alpha, "verdict": verdict, **changed}
            own = [entry(statement(seed / 1000), node_id=f"hypotheses/{KEY}{end}", **given) for end in ENDS]
            records[seed], manifests[seed] = tmp_path / f"{seed}.json", tmp_path / f"{seed}.manifest.json"
            records[seed].write_text(json.dumps(record(seed, *own)))
            manifest = {"name": "tiny", "recipe": {"steps": 4000, "seed": seed} | (recipe or {}).get(seed, {})}
            manifests[seed].write_text(json.dumps(manifest))
        return records, manifests

    return given


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["SUPPORTED"] * 8, "SUPPORTED"),
        (["REFUTED"] * 8, "REFUTED"),
        (["SUPPORTED"] * 7 + ["INCONCLUSIVE"], "INCONCLUSIVE"),
        (["SUPPORTED"] * 7 + ["REFUTED"], "INCONCLUSIVE"),
    ],
)
def test_all_eight_seeds_decide(lock, give, verdicts, expected):
    found = decide_registered(lock, "tiny", *give(verdicts))
    assert [one.verdict.value for one in found] == [expected] * 10
    page = as_markdown(lock, found)
    assert f"**{expected}**" in page
    assert "if seeds scatter symmetrically" in page


def test_the_seeds_are_those_registered(lock, give):
    records, manifests = give(["SUPPORTED"] * 8)
    assert waiting(lock, records) == ""
    records[1] = records.pop(101)
    assert waiting(lock, records) == "waiting for seeds: 7 of 8 measured, not [101]"
    with pytest.raises(ValueError, match="give exactly these"):
        decide_registered(lock, "tiny", records, manifests)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({102: {"seed": 101}}, "seed 101; needed is tiny, seed 102"),
        ({105: {"steps": 1000}}, "trained otherwise"),
    ],
)
def test_trainings_differ_in_their_registered_seed_alone(lock, give, recipe, told):
    with pytest.raises(ValueError, match=told):
        decide_registered(lock, "tiny", *give(["SUPPORTED"] * 8, recipe))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"alpha": 0.01}, "over seeds, not"),
        ({"registration": "post hoc"}, "post hoc"),
        ({"registration": "exploratory"}, "no registered claims"),
    ],
)
def test_records_keep_the_level_and_the_registration(lock, give, changed, told):
    with pytest.raises(ValueError, match=told):
        decide_registered(lock, "tiny", *give(["SUPPORTED"] * 8, **changed))


def test_another_margin_than_the_registered_one_is_refused(folder, give, monkeypatch):
    lock_checkpoint_claims(monkeypatch, 0.05)
    with pytest.raises(ValueError, match="registered is"):
        decide_registered(register(folder, [KEY], ["tiny"], SEEDS), "tiny", *give(["SUPPORTED"] * 8))


def test_a_lock_is_written_once_and_not_by_hand(lock, folder):
    with pytest.raises(ValueError, match="not registered again"):
        register(folder, [KEY], ["tiny"], range(201, 209))
    file = folder / LOCK
    file.write_text(file.read_text().replace("101", "20261122"))
    with pytest.raises(ValueError, match="not what was registered"):
        recipe_registration.read(folder)
    (folder / LEDGER).unlink()
    with pytest.raises(ValueError, match="unreadable registration"):
        recipe_registration.read(folder)


@pytest.mark.parametrize("seeds", [SEEDS[:4], (101,) * 8])
def test_too_few_seeds_or_one_seed_eight_times_are_not_registered(folder, seeds):
    with pytest.raises(ValueError, match=r"no rule on 4 seeds|twice"):
        register(folder, [KEY], ["tiny"], seeds)
    assert not (folder / LOCK).exists()


def test_the_shipped_lock_states_what_claims_lock_states():
    lock, entries = recipe_registration.read(HYPOTHESES), recipe_registration.Registry(HYPOTHESES).entries
    assert (len(lock.claims), lock.alpha, lock.agreeing, lock.seeds) == (10, 0.005, 8, SEEDS)
    assert all(statements == entries[key].statements for key, statements in lock.claims.items())


def test_the_command_registers_and_says_the_rule(folder, capsys):
    given = ["--claims", KEY, "--recipes", "tiny", "--seeds", *map(str, SEEDS)]
    main(["register-recipe", str(folder), *given])
    assert "of 8 seeds must agree" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["register-recipe", str(folder), *given])


def test_the_command_decides_when_all_registered_seeds_are_there(lock, folder, give, tmp_path, capsys):
    records, manifests = give(["SUPPORTED"] * 8)
    (tmp_path / "tiny").mkdir()
    for seed, file in manifests.items():
        file.rename(tmp_path / f"tiny/{seed}.json")
    given = ["--registered", str(folder), "--manifests", str(tmp_path / "tiny")]
    main(["recipe", *map(str, list(records.values())[:2]), *given])
    assert capsys.readouterr().out.startswith("waiting for seeds: 2 of 8")
    main(["recipe", *map(str, records.values()), *given])
    assert capsys.readouterr().out.count("**SUPPORTED**") == 10
    with pytest.raises(SystemExit):  # a seed is not measured because a file was named after it
        main(["recipe", str(tmp_path / "nowhere/101.json"), *given])
