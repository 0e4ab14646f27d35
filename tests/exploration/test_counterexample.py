"""Counterexamples on the planted model (planted.py), where it is known which prompts violate a claim.

Dropping the embedding from 3.mlp takes away what predicts the next word after words 0-7: that hurts where the next
word is the predicted one, and helps where it is another.
"""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.planted import FOLLOWS, LATER, WORDS, write_planted
from support.warm_processes import warm

import attnres_core as ac
from attnres_core.__main__ import main
from attnres_core.engine import resources
from attnres_core.engine.executors import in_memory
from attnres_core.exploration import violations
from attnres_core.exploration.counterexample import BATCH, MARGIN
from attnres_core.plugin import one_claim
from attnres_core.prompts import Split
from attnres_core.quantities.summaries import mass_and_effect, spread

ROOT = Path(__file__).parents[2]
EFFECT = ac.drop(ac.EMBEDDING, ac.MLP, range(3, 4))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return ac.load_model(write_planted(tmp_path_factory.mktemp("planted") / "trained"))


@pytest.fixture(scope="module")
def docstrings():
    return ac.load_prompts(ac.reference_prompts()).part(Split.EXPLORATION)


@ac.claim(effect=EFFECT.on(ac.TRAINED))
def necessary(effect):
    assert effect > 0.5


@ac.claim(effect=EFFECT.on(ac.TRAINED))
def small_effect(effect):
    assert abs(effect) < 0.5


@ac.claim("each effect")
@pytest.mark.parametrize("effect", [EFFECT.on(ac.TRAINED)])
def each_effect(effect):
    assert effect > 0.5


def predicted():
    """Prompts that go on as the model predicts, from a word whose successor it reads off the embedding."""

    def chain(first, length):
        words = [first]
        while len(words) < length:
            words.append(int(FOLLOWS[words[-1]]))
        return words

    chains = st.integers(2, 8).flatmap(lambda length: st.integers(0, 7).map(lambda word: chain(word, length)))
    return ac.PromptKind("predicted words", chains)


def rise(model, row):
    """What dropping the embedding costs on one prompt, from the logits of whole runs."""
    ids = torch.tensor([row])
    losses = []
    for ablation in (None, EFFECT):
        log_p = model.logits(ids, ablation=ablation).log_softmax(-1)[0, :-1]
        losses.append(-log_p.gather(1, ids[0, 1:, None]).mean())
    return float(losses[1] - losses[0])


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_counterexample_is_found_and_violates_the_claim_the_plain_way(planted, seed):
    order = [*LATER, *range(8)]  # (words 8-15, which have copies, are the simplest here: the first example will not do)
    search = ac.search_counterexample(planted, EFFECT, ac.any_tokens(planted, among=order), seed=seed)
    expected = next(row for row in itertools.product(order, repeat=2) if rise(planted, row) < -MARGIN)
    assert expected[0] not in LATER
    assert search.found.token_ids == expected
    assert search.found.text == f"w{expected[0]} w{expected[1]}"
    assert search.found.value == pytest.approx(rise(planted, expected), abs=1e-5)
    assert search.found.statement == f"{EFFECT} > 0"
    assert search.closest >= -search.found.value - 1e-5


def test_none_is_found_where_there_is_none(planted):
    search = ac.search_counterexample(planted, EFFECT, predicted(), candidates=200)
    assert search.found is None
    assert search.closest < -MARGIN
    assert search.candidates == len({(first, length) for first in range(8) for length in range(2, 9)})  # every one
    assert "no counterexample found in 112 forwards of predicted words" in str(search)
    assert f"the closest was {-search.closest:.4g} nats/token away from one" in str(search)


def test_a_claim_is_held_against_its_own_threshold_or_against_another(planted):
    kind = predicted()
    assert ac.search_counterexample(planted, necessary, kind, threshold=0).found is None
    found = ac.search_counterexample(planted, necessary, kind, threshold=50).found
    assert found.statement == f"{EFFECT} on trained [delta_nll] > 50"
    assert 0 < found.value < 50


def test_statements_of_any_form_can_be_violated(planted):
    @ac.claim(effect=EFFECT.on(ac.TRAINED), mass=ac.mass(ac.EMBEDDING, ac.MLP, range(3, 4)).on(ac.TRAINED))
    def small(effect, mass):
        assert mass < 2
        assert abs(effect) < 0.01

    @ac.claim(effect=EFFECT.on(ac.TRAINED), other=ac.drop(ac.OLDER, ac.MLP, range(3, 4)).on(ac.TRAINED))
    def less(effect, other):
        assert other - effect > 0

    @ac.claim(effect=EFFECT.on(ac.TRAINED), mass=ac.mass(ac.EMBEDDING, ac.MLP, range(3, 4)).on(ac.TRAINED))
    def true(effect, mass):
        assert mass < 2
        assert abs(effect) < 1000

    kind = ac.any_tokens(planted, max_tokens=4)
    assert ac.search_counterexample(planted, true, kind, candidates=100).closest < -0.5
    found = ac.search_counterexample(planted, small, kind)
    assert found.found.statement.startswith("|drop(embedding")
    assert abs(found.found.value) > 0.01
    assert f" nats/token for {found.found.statement}" in str(found)  # (the other statement is of a mass)
    assert found.units == ("depth weight", "nats/token")
    assert ac.search_counterexample(planted, less, kind).found.value < 0


def test_the_same_seed_gives_the_same_answer(planted):
    kind = ac.any_tokens(planted, among=range(8, 16))
    first, again = (ac.search_counterexample(planted, EFFECT, kind, candidates=50, seed=3) for _ in range(2))
    assert first == again
    assert json.loads(json.dumps(first.as_json())) == first.as_json()


def test_candidates_are_measured_in_batches_and_each_once(planted, monkeypatch):
    sizes, seen, genuine = [], [], in_memory.sweep_chunk

    def sweep_chunk(model, rows, *arguments, **options):
        sizes.append(len(rows))
        seen.extend(map(tuple, rows))
        return genuine(model, rows, *arguments, **options)

    monkeypatch.setattr(in_memory, "sweep_chunk", sweep_chunk)
    kl = EFFECT.on(ac.TRAINED, metric=ac.KL)  # never negative
    search = ac.search_counterexample(planted, kl, ac.any_tokens(planted), threshold=-1, candidates=1000)
    assert search.found is None
    assert search.candidates == len(seen) == len(set(seen)) == 1000
    assert search.forwards == 2000
    assert sizes[:12] == [BATCH] * 12
    assert len(sizes) < 250


def test_what_takes_from_reference_prompts_is_given_some(planted):
    effect = ac.resample(ac.EMBEDDING, ac.MLP, range(3, 4))
    with pytest.raises(ValueError, match=r"`resample\(.*\)` takes something from reference prompts; pass reference="):
        ac.search_counterexample(planted, effect, ac.any_tokens(planted))
    reference = [[word, int(FOLLOWS[word])] for word in range(WORDS)]
    found = ac.search_counterexample(planted, effect, ac.any_tokens(planted), reference=reference).found
    assert found.value < 0


def test_what_the_fast_path_alone_finds_is_an_error(planted, monkeypatch):
    monkeypatch.setattr(violations.Bench, "plainly", lambda bench, row: (-0.1, bench.statements[0], 0.1))
    with pytest.raises(RuntimeError, match="violates the claim by the fast path alone; please report it as a bug"):
        ac.search_counterexample(planted, EFFECT, ac.any_tokens(planted))


def test_claims_and_prompts_that_cannot_be_searched_are_refused_with_a_remedy(planted):
    kind = ac.any_tokens(planted)

    @ac.claim(one=EFFECT.on(ac.TRAINED), other=EFFECT.on(ac.WRAPPED))
    def against(one, other):
        assert one - other > 0

    for claim, message in (
        (against, r"the claim compares models \(trained, wrapped\); a search measures one"),
        (mass_and_effect("slope", ac.MLP), "is no number of a single prompt"),
        (spread(ac.MLP), "is no number of a single prompt"),
        (EFFECT.on(ac.TRAINED, metric=ac.ANSWER_PROBABILITY), "is no number of a single prompt without an answer"),
        (len, "give a test made by @claim, a quantity or an ablation"),
    ):
        with pytest.raises(ValueError, match=message):
            ac.search_counterexample(planted, claim, kind)
    with pytest.raises(ValueError, match="`threshold` is 0, and no size is under it"):
        violations.stated(small_effect, threshold=0.0)
    for nothing in (math.nan, math.inf):
        with pytest.raises(ValueError, match=f"`threshold` is {nothing}; give a finite number"):
            ac.search_counterexample(planted, EFFECT, kind, threshold=nothing)
    chosen = ac.drop(ac.most_massive(ac.MLP, ac.EARLY), ac.MLP, ac.EARLY)
    with pytest.raises(ValueError, match="is about a family that prompts choose; state it of one by its name"):
        violations.stated(chosen)
    with pytest.raises(ValueError, match=r"search one of its cases, .* FILE\.py::each_effect\[case\]`, or write"):
        violations.stated(each_effect)
    with pytest.raises(ac.NotApplicable, match="has a source of the family `older`"):
        ac.search_counterexample(planted, ac.drop(ac.OLDER, ac.ATTN, range(0, 1)), kind)
    with pytest.raises(ValueError, match="`candidates` is 0; give a whole number"):
        ac.search_counterexample(planted, EFFECT, kind, candidates=0)
    with pytest.raises(ValueError, match=r"give any_tokens\(model\), excerpts"):
        ac.search_counterexample(planted, EFFECT, st.just([0, 1]))
    with pytest.raises(ValueError, match=r"`prompts` \(nothing\) gives next to no prompt"):
        ac.search_counterexample(planted, EFFECT, ac.PromptKind("nothing", st.just([0, 1]).filter(lambda row: False)))
    with pytest.raises(ValueError, match="ids run from 0 to 15"):
        ac.search_counterexample(planted, EFFECT, ac.PromptKind("others", st.just([0, 16])))
    with pytest.raises(ValueError, match="`min_tokens` is 1 and `max_tokens` 16; give 2 <= min_tokens"):
        ac.any_tokens(planted, min_tokens=1)
    with pytest.raises(ValueError, match=r"`among` is \[16\]; give token ids from 0 to 15"):
        ac.any_tokens(planted, among=[16])


def test_rounding_may_not_turn_a_sign(planted):
    half = ac.load_model(planted.checkpoint.folder, dtype="bfloat16")
    with pytest.raises(ValueError, match=r"the model is in torch.bfloat16.*load it with dtype='float32'"):
        ac.search_counterexample(half, EFFECT, ac.any_tokens(planted))


@settings(max_examples=50)
@given(data=st.data())
def test_kinds_of_prompts_hold_what_they_say(planted, tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    (folder / "kinds.jsonl").write_text('{"id": "a", "text": "w1 w2 w3 w4 w5"}\n{"id": "b", "text": "w6 w7"}\n')
    prompts = ac.load_prompts(folder / "kinds.jsonl")
    excerpt = data.draw(ac.excerpts(planted, prompts, min_tokens=3, max_tokens=4).strategy)
    assert excerpt in ([1, 2, 3], [2, 3, 4], [3, 4, 5], [1, 2, 3, 4], [2, 3, 4, 5])
    words = data.draw(ac.any_tokens(planted, min_tokens=2, max_tokens=3, among=LATER).strategy)
    assert len(words) in (2, 3)
    assert set(words) <= set(LATER)
    written = data.draw(ac.texts(planted, st.from_regex("w1( w[2-4])*", fullmatch=True)).strategy)
    assert written[0] == 1
    assert len(written) >= 2
    assert set(written[1:]) <= {2, 3, 4}
    with pytest.raises(ValueError, match="no prompt of kinds has 6 tokens; give a smaller `min_tokens`"):
        ac.excerpts(planted, prompts, min_tokens=6)


def test_the_recorded_counterexample_on_the_reference_checkpoint_is_found_again(docstrings):
    """README: older blocks are necessary for late attention on the mean of 256 prompts, and hurt on this excerpt."""
    model = ac.load_model(ac.reference("tiny-open-block"))
    effect = ac.drop(ac.OLDER, ac.ATTN, ac.LATE)
    search = ac.search_counterexample(model, effect, ac.excerpts(model, docstrings))
    assert search.found.text == "bstract"
    assert search.found.value == pytest.approx(-0.1513, abs=1e-3)


def test_the_command_finds_one_for_a_claim_in_a_file(planted, micro, tmp_path):
    (tmp_path / "test_mine.py").write_text(
        "import pytest\nfrom attnres_core import EMBEDDING, MLP, TRAINED, claim, drop\n\n"
        "@claim(effect=drop(EMBEDDING, MLP, range(3, 4)).on(TRAINED))\n"
        "@pytest.mark.parametrize('least', [0.5, 50])\n"
        "def test_necessary(effect, least):\n    assert effect > least\n"
    )
    command = warm([sys.executable, "-m", "attnres_core", "counterexample", str(planted.checkpoint.folder)])
    given = [f"--prompts={micro / 'prompts.jsonl'}", f"--store={tmp_path / 'store'}"]
    given = [str(tmp_path / "test_mine.py::test_necessary[0.5]"), *given]

    def run(*arguments):
        return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)

    done = run(*given, "--tokens", "--threshold=0", f"--json={tmp_path / 'found.json'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("smallest counterexample found in ")
    assert "exploratory: one prompt refutes a claim about every prompt, not one about their mean" in done.stdout
    assert json.loads((tmp_path / "found.json").read_text())["found"]["value"] < 0
    matched = run(*given, "--matching=w1( w[0-9]){1,3}", "--candidates=20")
    assert "'w1 w" in matched.stdout
    for arguments, message in (
        ([str(tmp_path / "none.py::test_necessary")], "there is no such file; give a claim as FILE.py::test_name"),
        ([str(tmp_path / "test_mine.py")], "the file holds test_necessary; give FILE.py::test_name"),
        ([*given, "--threshold=nan"], "`threshold` is nan; give a finite number"),
        ([*given, "--matching=["], "--matching: '[' is no regular expression"),
        ([*given, "--min-tokens=65", "--max-tokens=65"], "this model's context"),
    ):
        refused = run(*arguments)
        assert refused.returncode == 2
        assert message in refused.stderr


@pytest.mark.parametrize(
    ("given", "there", "asked"),
    [
        ([], 0, (None, None, "cpu", None, None)),
        ([], 2, (None, None, "cuda", None, None)),
        (["--device=cpu", "--wrap=10", "--num-blocks=3"], 2, (10.0, 3, "cpu", None, None)),
        (["--device=cuda", "--revision=v2"], 0, (None, None, "cuda", "v2", None)),
        (["--adapter=package.module:Mine"], 0, (None, None, "cpu", None, "package.module:Mine")),
    ],
)
def test_the_command_reads_the_checkpoint_it_is_asked_for_where_it_is_asked_to(
    monkeypatch, capsys, tmp_path, given, there, asked
):
    def load_model(path, wrap, num_blocks, device, revision, adapter):
        raise ValueError(f"asked for {(path, wrap, num_blocks, device, revision, adapter)}")

    monkeypatch.setattr(ac, "load_model", load_model)
    monkeypatch.setattr(resources, "cuda_devices", lambda: there)
    monkeypatch.setattr(one_claim, "read_claim", lambda where: violations.stated(EFFECT))
    with pytest.raises(SystemExit):
        main(["counterexample", "owner/name", "test_a.py::test_a", f"--store={tmp_path}", *given])
    assert f"asked for {('owner/name', *asked)}" in capsys.readouterr().err
