"""Registered claims about a recipe: what is registered, which seeds count, and what decides."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_across_seeds import TEXT, entry, record, statement

from attnres_core.__main__ import main
from attnres_core.judging import recipe_registration
from attnres_core.judging.recipe_registration import LEDGER, LOCK, register
from attnres_core.registration.attestation import Attestation
from attnres_core.report.recipe_verdicts import as_markdown, decide_registered, waiting
from attnres_core.statistics.sign_sketches import sketch

HYPOTHESES = Path(__file__).parents[2] / "hypotheses"
KEY = "test_older.py::test_older_blocks_are_necessary"
ENDS = ("", *"abcdefghi")
SHARE = 0.05 / 128
SEEDS = tuple(range(101, 109))
SKETCHES = {seed: sketch({"a": np.random.default_rng(seed).normal(size=100_000)}) for seed in SEEDS}
COMMITTED = Attestation("committed", "0" * 40, "2026-11-29T06:00:00+00:00")


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
            told = record(seed, *own)
            told["models"]["trained"]["sketch"] = SKETCHES[seed]
            records[seed].write_text(json.dumps(told))
            made = {"steps": 4000, "seed": seed} | (recipe or {}).get(seed, {})
            manifest = {"name": "tiny", "recipe": made, "data": {"digest": "d"}, "weights": f"{seed:064d}"}
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
    page = as_markdown(lock, found, COMMITTED)
    assert "recipes.lock: committed 000000000000 on 2026-11-29." in page
    assert f"**{expected}**" in page
    assert "if seeds scatter nearly normally" in page


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


def test_a_record_states_what_was_registered_even_where_it_does_not_apply(lock, give):
    """Else one seed on which a weaker statement does not apply would hide it on the other seven."""
    records, manifests = give(["SUPPORTED"] * 7 + ["NOT APPLICABLE"])
    found = json.loads(records[101].read_text())
    for claim in found["claims"]:
        claim["statements"][0]["text"] = f"{TEXT} > 0.001"
    change(records[101], claims=found["claims"])
    with pytest.raises(ValueError, match="registered is"):
        decide_registered(lock, "tiny", records, manifests)


def test_seeds_of_retrofits_are_refused(lock, give):
    own = {seed: {"part": "routing"} for seed in SEEDS}
    with pytest.raises(ValueError, match="share their base's weights"):
        decide_registered(lock, "tiny", *give(["SUPPORTED"] * 8, own))


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
    main(["recipe", "register", str(folder), *given])
    assert "of 8 seeds must agree" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["recipe", "register", str(folder), *given])


def change(file, **changed):
    """Change fields of a JSON file; None removes one."""
    found = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({name: value for name, value in found.items() if value is not None}))


@pytest.mark.parametrize("weights", ["f" * 64, None])
def test_a_manifest_names_the_weights_of_the_record(lock, give, weights):
    """Another training's manifest is no proof of a seed, nor is one that names no weights."""
    records, manifests = give(["SUPPORTED"] * 8)
    change(manifests[104], weights=weights)
    with pytest.raises(ValueError, match=r"weights ffffffffffff, the record of seed 104|names seed and weights"):
        decide_registered(lock, "tiny", records, manifests)


def test_trainings_on_other_data_are_refused(lock, give):
    records, manifests = give(["SUPPORTED"] * 8)
    change(manifests[104], data={"digest": "other"})
    with pytest.raises(ValueError, match="trained otherwise"):
        decide_registered(lock, "tiny", records, manifests)


def test_records_without_a_sketch_decide_no_registered_claim(lock, give):
    records, manifests = give(["SUPPORTED"] * 8)
    models = json.loads(records[103].read_text())["models"]
    del models["trained"]["sketch"]
    change(records[103], models=models)
    with pytest.raises(ValueError, match="no sketch of weights in 103"):
        decide_registered(lock, "tiny", records, manifests)


@pytest.fixture
def command(lock, folder, give, tmp_path):
    """What the command is given when all seeds are there; and the records and manifests."""
    records, manifests = give(["SUPPORTED"] * 8)
    (tmp_path / "tiny").mkdir()
    for seed, file in manifests.items():
        file.rename(tmp_path / f"tiny/{seed}.json")
    return list(map(str, records.values())), ["--registered", str(folder), "--manifests", str(tmp_path / "tiny")]


def test_the_command_decides_when_all_registered_seeds_are_there(command, capsys):
    records, given = command
    main(["recipe", "decide", *records[:2], *given])
    assert capsys.readouterr().out.startswith("waiting for seeds: 2 of 8")
    main(["recipe", "decide", *records, *given])
    printed = capsys.readouterr().out
    assert printed.count("**SUPPORTED**") == 10
    assert "recipes.lock: self-attested (not committed to git)" in printed


def test_the_command_tells_the_commit_of_the_lock_and_whether_a_seed_was_measured_before_it(command, folder, capsys):
    records, given = command
    git(folder, "init", "-q")
    git(folder, "add", LOCK, LEDGER)
    git(folder, "commit", "-q", "-m", "register")
    for began, told in (("2999-01-01T00:00:00+00:00", "committed"), ("2026-01-02T00:00:00Z", "self-attested")):
        for file in records:
            change(Path(file), run=json.loads(Path(file).read_text())["run"] | {"started": began})
        main(["recipe", "decide", *records, *given])
        assert f"{LOCK}: {told} {git(folder, 'rev-parse', 'HEAD')[:12]} on 20" in capsys.readouterr().out
    main(["recipe", "decide", *records, *given])
    assert "(a seed was measured on 2026-01-02, before it was committed)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change_of", "told"),
    [
        (
            lambda records, given: [records[0].replace("101.json", "seed-101.json"), *given],
            "is no registered seed; name",
        ),
        (lambda records, given: [records[0].replace("101.json", "1.json"), *given], "registered: 101, 102"),
        (
            lambda records, given: [records[0].replace("101.json", "\N{SUPERSCRIPT ONE}.json"), *given],
            "no registered seed",
        ),
        (lambda records, given: [records[0], records[0], *given], "both named for seed 101"),
        # a seed is not measured because a file was named after it
        (lambda records, given: [records[0].replace("101.json", "nowhere/101.json"), *given], "there is no"),
        (lambda records, given: [*records, *given, "-k", "older"], "leave out -k"),
        (lambda records, given: [*records, *given, "-o", "out.md"], "leave out -o"),
        (lambda records, given: [*records, *given[:2]], "--registered needs --manifests"),
        (lambda records, given: [*records, *given[2:]], "--manifests goes with --registered"),
    ],
)
def test_the_command_says_what_it_cannot_do(command, change_of, told, capsys):
    with pytest.raises(SystemExit):
        main(["recipe", "decide", *change_of(*command)])
    assert told in capsys.readouterr().err


def test_a_seed_that_is_no_number_is_not_registered(folder, capsys):
    with pytest.raises(SystemExit):
        main(["recipe", "register", str(folder), "--claims", KEY, "--recipes", "tiny", "--seeds", "101", "10x"])
    assert "`10x` is no seed; give whole numbers" in capsys.readouterr().err
    assert not (folder / LOCK).exists()


def git(folder, *arguments):
    named = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    run = ["git", *named, "-C", str(folder), *arguments]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
