"""A search for a counterexample is told with the claim it speaks to, on the checkpoint it ran on, and nowhere else."""

import dataclasses

import pytest
from support.planted import write_planted, write_prompts
from support.small_suite import record_of

import attnres_core as ac
from attnres_core.__main__ import main
from attnres_core.engine.store import DamagedStoreWarning, Store
from attnres_core.exploration import kept_searches
from attnres_core.exploration.counterexample import Counterexample, CounterexampleSearch
from attnres_core.exploration.kept_searches import keep, speaking_to
from attnres_core.exploration.violations import stated

EFFECT = ac.drop(ac.EMBEDDING, ac.MLP, range(3, 4))
OTHER = ac.drop(ac.CURRENT, ac.MLP, range(3, 4))
DIGESTS = {ac.TRAINED: "a" * 64, ac.WRAPPED: "b" * 64}


def statements(body, **quantities):
    return stated(ac.claim(**quantities)(body))


def above(effect):
    assert effect > 0.5


def below(effect):
    assert effect < 0.5


def within(effect):
    assert abs(effect) < 0.5


def both(effect, other):
    assert effect > 0.5
    assert other > 0.25


NECESSARY = statements(above, effect=EFFECT.on(ac.TRAINED))


def search(asked, *, found=(0, 1), value=-0.1, violated=0, digest="a" * 64, **given):
    """A search's answer as plain data."""
    counterexample = Counterexample(found, "w0 w1", ("w0", "w1"), str(asked[violated]), value) if found else None
    words, units = tuple(map(str, asked)), ("nats/token",) * len(asked)
    made = CounterexampleSearch(words, units, "any prompts", "planted", digest, 100, 200, 0, -value, counterexample)
    return dataclasses.replace(made, **given).as_json()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def told(store, claimed):
    return speaking_to(claimed, DIGESTS.__getitem__, store)


@pytest.mark.parametrize("threshold", [0.0, None])
def test_a_search_speaks_to_the_claim_of_its_statement_at_its_threshold_or_at_zero(store, threshold):
    asked = statements(above, effect=EFFECT.on(ac.TRAINED))
    asked = asked if threshold is None else (dataclasses.replace(asked[0], threshold=threshold),)
    keep(store, search(asked), asked, "the command")
    [speaking] = told(store, NECESSARY)
    assert speaking.search["command"] == "the command"
    assert speaking.statement == NECESSARY[0]
    assert speaking.wrong_sign


@pytest.mark.parametrize(
    "asked",
    [
        statements(above, effect=OTHER.on(ac.TRAINED)),
        statements(above, effect=EFFECT.on(ac.TRAINED, metric=ac.KL)),
        statements(below, effect=EFFECT.on(ac.TRAINED)),
        statements(within, effect=EFFECT.on(ac.TRAINED)),
        statements(both, effect=EFFECT.on(ac.TRAINED), other=OTHER.on(ac.TRAINED)),
        (dataclasses.replace(NECESSARY[0], threshold=50.0),),
    ],
    ids=["another effect", "another metric", "the opposite", "a null", "more than it states", "another threshold"],
)
def test_no_search_speaks_to_a_claim_that_states_something_else(store, asked):
    keep(store, search(asked), asked, "")
    assert told(store, NECESSARY) == ()


def test_no_search_on_another_checkpoint_or_in_another_arithmetic_is_told(store, monkeypatch):
    keep(store, search(NECESSARY, digest="c" * 64), NECESSARY, "")
    with monkeypatch.context() as patched:
        patched.setattr(kept_searches, "NUMERICS_VERSION", kept_searches.NUMERICS_VERSION - 1)
        keep(store, search(NECESSARY), NECESSARY, "")
        assert len(told(store, NECESSARY)) == 1
    assert told(store, NECESSARY) == ()


def test_the_checkpoint_counts_and_not_the_role_it_plays(store):
    asked = statements(above, effect=EFFECT.on(ac.TRAINED))
    keep(store, search(asked, digest=DIGESTS[ac.WRAPPED]), asked, "")
    assert told(store, NECESSARY) == ()
    assert len(told(store, statements(above, effect=EFFECT.on(ac.WRAPPED)))) == 1
    keep(store, search(asked), asked, "")
    assert len(told(store, NECESSARY)) == 1


def test_a_search_for_several_statements_is_told_with_the_one_that_its_prompt_violates(store):
    asked = statements(both, effect=EFFECT.on(ac.TRAINED), other=OTHER.on(ac.TRAINED))
    keep(store, search(asked, violated=1, value=0.2), asked, "")
    [speaking] = told(store, asked)
    assert speaking.statement == asked[1]
    assert not speaking.wrong_sign  # 0.2 is too little, and no loss


def test_of_one_kind_of_prompts_the_shortest_is_told_and_of_none_the_longest_search(store):
    keep(store, search(NECESSARY, found=None, forwards=900, seed=1), NECESSARY, "")
    keep(store, search(NECESSARY, found=None, forwards=2000, seed=2, value=1), NECESSARY, "")
    assert [speaking.search["seed"] for speaking in told(store, NECESSARY)] == [2]
    assert [(speaking.value, speaking.wrong_sign) for speaking in told(store, NECESSARY)] == [(None, False)]
    keep(store, search(NECESSARY, found=(0, 1, 2), seed=3), NECESSARY, "")
    keep(store, search(NECESSARY, seed=4), NECESSARY, "")
    keep(store, search(NECESSARY, found=(0, 1, 2, 3), seed=5, prompts="others"), NECESSARY, "")
    assert [speaking.search["seed"] for speaking in told(store, NECESSARY)] == [4, 5]


def test_a_damaged_search_is_set_aside(store):
    keep(store, search(NECESSARY), NECESSARY, "")
    [file] = (store.root / "searches").glob("*/*.json")
    file.write_text(file.read_text().replace("w0 w1", "w0 w2"))
    with pytest.warns(DamagedStoreWarning, match="its content does not have its SHA-256"):
        assert told(store, NECESSARY) == ()


CLAIMS = """
from attnres_core import CURRENT, EMBEDDING, MLP, TRAINED, WRAPPED, claim, drop, resample

EFFECT = drop(EMBEDDING, MLP, range(3, 4))

@claim(effect=EFFECT.on(TRAINED))
def test_necessary(effect):
    assert effect > 0.5

@claim(effect=EFFECT.on(TRAINED), under=[drop, resample])
def test_under_both(effect):
    assert effect > 0.5

@claim(effect=EFFECT.on(TRAINED))
def test_null(effect):
    assert abs(effect) < 0.5

@claim(effect=EFFECT.on(WRAPPED))
def test_wrapped(effect):
    assert effect > 0.5
"""


@pytest.mark.usefixtures("_quiet")
def test_a_run_tells_what_the_command_found_and_decides_as_before(pytester, tmp_path, micro, capsys):
    write_planted(tmp_path / "trained")
    prompts = write_prompts(tmp_path / "prompts.jsonl")
    file = pytester.makepyfile(test_planted=CLAIMS)
    store = pytester.path / ".attnres"

    def run():
        given = {"trained": tmp_path / "trained", "vanilla": micro / "vanilla", "prompts": prompts, "store": store}
        pytester.runpytest_subprocess("-n0", *(f"--attnres-{name}={value}" for name, value in given.items()))
        return record_of(pytester)["claims"]

    before = run()
    assert not any(claim["counterexamples"] for claim in before)
    words = ["counterexample", str(tmp_path / "trained"), f"{file}::test_necessary", "--threshold=0", "--tokens"]
    main([*words, f"--prompts={prompts}", f"--store={store}"])
    assert "smallest counterexample found in " in capsys.readouterr().out
    after = run()
    told = {claim["node_id"].split("::")[1]: claim.pop("counterexamples") for claim in after}
    assert {name for name, found in told.items() if found} == {"test_necessary", "test_under_both"}
    assert [{**claim, "counterexamples": []} for claim in after] == before
    [found] = told["test_necessary"]
    assert found["command"].startswith(f"python -m attnres_core counterexample {tmp_path / 'trained'} ")
    assert (found["unit"], found["found"]["wrong_sign"]) == ("nats/token", True)
    assert found["found"]["value"] < 0
    assert found["found"]["tokens"] == [f"w{token}" for token in found["found"]["token_ids"]]
    assert found["forwards"] == 2 * found["candidates"]
