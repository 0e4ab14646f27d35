"""Routing after the fact: what is frozen stays, what is stored is what was scored, and it loads with its base alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.checkpoint_copies import IDS, baseline, configure, refusal, rewrite
from tokenizers import Tokenizer
from torch import Tensor

import attnres_core as ac
from attnres_core.__main__ import main
from attnres_core.claims.statements import Linear, Operator, Statement
from attnres_core.engine import executors
from attnres_core.engine.measurements import Measurements
from attnres_core.engine.resources import Asked
from attnres_core.engine.store import Store
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint, weights_digest
from attnres_core.models.checkpoints.retrofit import OWN_FUNCTION, Part, Retrofit
from attnres_core.models.loading import load_checkpoint
from attnres_core.planning.material import Material
from attnres_core.prompts import Split, load_prompts
from attnres_core.quantities.vocabulary import Role
from attnres_core.training import retrofit, train
from attnres_core.training.corpus import Corpus, Document

RECIPE = retrofit.RetrofitRecipe(
    steps=6,
    batch=2,
    marked=1,
    length=8,
    warmup=2,
    learning_rate=0.03,
    precision="float32",
    num_blocks=2,
    recency_bias=3.0,
)
EACH = pytest.mark.parametrize("part", Part)


def recipe_of(part: Part) -> retrofit.RetrofitRecipe:
    return dataclasses.replace(RECIPE, part=part.value)


def corpus() -> Corpus:
    """Forty documents of words that the small tokenizer knows, four of them held out."""
    rng = np.random.default_rng(5)
    texts = [" ".join(f"w{token}" for token in rng.integers(1, 96, 20)) for _ in range(40)]
    documents = [Document(f"package:module.py:{index}", "package", text) for index, text in enumerate(texts)]
    return Corpus(tuple(documents[4:]), tuple(documents[:4]))


@pytest.fixture(scope="module")
def trained(micro: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Part, Path]:
    """A retrofit of the small vanilla model, and its control; the routing keeps its third step."""
    root = tmp_path_factory.mktemp("retrofits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrofit, "build", corpus)
        runs = {part: retrofit.prepared(str(micro / "vanilla"), recipe_of(part), root) for part in Part}
        for run in runs.values():
            retrofit.main(run, device="cpu", scratch=root / "scratch", kept_steps=[3])
        return {part: run.folder for part, run in runs.items()}


def ids_of(base: Path, documents: Sequence[Document]) -> list[np.ndarray]:
    return train.encode(Tokenizer.from_file(str(base / "tokenizer.json")), documents, end=0)


def optimised(base: Path, part: Part, state_file: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All parameters before and after training one part."""
    model = load_checkpoint(retrofit.wrapped_base(str(base), recipe_of(part))).network
    retrofit.freeze(model, part)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    feed = train.batches(ids_of(base, corpus().train), recipe_of(part), recipe_of(part).marked)
    train.optimise(model, feed, recipe_of(part), state_file, compiled=False, save_every=3)
    return before, {name: value.detach() for name, value in model.named_parameters()}


@EACH
def test_what_is_frozen_stays_equal_to_the_bit(micro: Path, tmp_path: Path, part: Part) -> None:
    before, after = optimised(micro / "vanilla", part, tmp_path / "state.pt")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    if part is Part.GAINS:
        assert changed == {name for name in before if name.endswith("norm.weight") and "_res_" not in name}
        assert {name.split(".")[-2] for name in changed} == {
            *("input_layernorm", "post_attention_layernorm", "norm", "q_norm", "k_norm")
        }
    else:
        # (layer 0's attention reads the embedding twice: its weights change nothing)
        assert changed == {name for name in before if "_res_" in name and not name.startswith("model.layers.0.attn_")}
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert {name for name in state["model"] if part.holds(name)} == set(state["model"])


@EACH
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Part
) -> None:
    base, plain = micro / "vanilla", train.batches
    _, straight = optimised(base, part, tmp_path / "straight.pt")

    class Stopped(Exception):
        pass

    def breaking(some: Sequence[np.ndarray], recipe: train.Recipe, marked: int) -> Iterator[Tensor]:
        yield from itertools.islice(plain(some, recipe, marked), 4)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(train, "batches", breaking)
        with pytest.raises(Stopped):
            optimised(base, part, tmp_path / "stopped.pt")
    _, resumed = optimised(base, part, tmp_path / "stopped.pt")
    assert all(torch.equal(resumed[name], value) for name, value in straight.items())


def test_half_of_the_windows_begin_with_a_document_and_half_anywhere() -> None:
    documents = [np.array([0, *range(10 * i + 1, 10 * i + 8)]) for i in range(40)]
    recipe = dataclasses.replace(RECIPE, batch=8, marked=4)
    batches = torch.stack(
        list(itertools.islice(train.batches(documents, recipe, recipe.marked), 9))
    )  # (an epoch, and a half)
    again = torch.stack(list(itertools.islice(train.batches(documents, recipe, recipe.marked), 9)))
    assert torch.equal(batches, again)
    assert batches.shape == (9, 8, RECIPE.length + 1)
    assert (batches[:, :4, 0] == 0).all()
    epoch = batches[:4, :4, 1]  # (a batch of the 35 whole windows anywhere is left over, and of 39 at marks)
    assert len(set(epoch.flatten().tolist())) == 16
    assert (batches[:, 4:, 0] != 0).any()
    stream = {tuple(window) for window in batches.flatten(0, 1).tolist()}
    assert all(after == before + 1 or 0 in (after, before) for w in stream for before, after in itertools.pairwise(w))


@EACH
def test_the_stored_model_is_the_scored_one(trained: dict[Part, Path], micro: Path, part: Part) -> None:
    """The losses of the manifest, from the files: before of the base's own function, after of the retrofit."""
    folder, dialect = trained[part], {Part.ROUTING: "open_block", Part.GAINS: "wrapped"}[part]
    base, own = ac.load_model(micro / "vanilla", wrap=OWN_FUNCTION, num_blocks=2), ac.load_model(folder)
    assert own.dialect == dialect
    scores = {"before": base, "after": own, "at step 3": ac.load_model(folder / "checkpoint-3")}
    for reading, first in retrofit.READINGS.items():
        nll = json.loads((folder / "manifest.json").read_text())[reading]
        held_out = [ids[first:] for ids in ids_of(micro / "vanilla", corpus().held_out)]
        found = {when: train.document_nll(model.network, held_out, "cpu") for when, model in scores.items()}
        assert train.summarise_nll(found["before"]) == pytest.approx(nll["before"])
        assert train.summarise_nll(found["after"]) == pytest.approx(nll["after"])
        assert nll["change"]["mean"] == pytest.approx(nll["after"]["mean"] - nll["before"]["mean"])
        third = json.loads((folder / "checkpoint-3" / "manifest.json").read_text())[reading]["after"]
        assert train.summarise_nll(found["at step 3"]) == pytest.approx(third)
        assert third["mean"] != nll["after"]["mean"] != nll["before"]["mean"]


GAINED = """
from attnres_core import BASE, GAINS, MLP, TRAINED, claim, closed_form_error, loss

@claim(routing=loss().on(TRAINED), gains=loss().on(GAINS))
def test_gains_do_better(routing, gains):
    assert routing - gains > 0

@claim(routing=loss().on(TRAINED), base=loss().on(BASE))
def test_routing_helps(routing, base):
    assert base - routing > 0

@claim(error=closed_form_error(MLP).on(BASE))
def test_the_base_computes_its_own_function(error):
    assert error < 1e-6
"""


def loss_of(model: Any, row: Sequence[int]) -> float:
    ids = torch.tensor([row])
    return float(torch.nn.functional.cross_entropy(model.logits(ids)[0, :-1], ids[0, 1:]))


def test_a_retrofit_and_its_control_decide_claims(
    suite: Any, trained: dict[Part, Path], micro: Path, pytester: Any
) -> None:
    suite(
        f"--attnres-trained={trained[Part.ROUTING]}",
        f"--attnres-vanilla={trained[Part.GAINS]}",
        "--attnres-recency-bias=3",
        claims=GAINED,
    )
    record = json.loads((pytester.path / "reports" / "latest.json").read_text())
    (claim, helps, exact), models = record["claims"], record["models"]
    prompts = load_prompts(micro / "prompts.jsonl").part(Split.EXPLORATION)
    routing, gains = (ac.load_model(trained[part]) for part in Part)
    base = ac.load_model(micro / "vanilla", wrap=OWN_FUNCTION, num_blocks=2)
    rows = prompts.token_ids(micro / "vanilla" / "tokenizer.json")
    differences = [loss_of(routing, row) - loss_of(gains, row) for row in rows]
    assert claim["estimate"] == pytest.approx(np.mean(differences), abs=1e-6)
    gained = [loss_of(base, row) - loss_of(routing, row) for row in rows]
    assert helps["estimate"] == pytest.approx(np.mean(gained), abs=1e-6)
    assert exact["verdict"] == "SUPPORTED"
    assert models["base"]["weights_digest"] == inspect_checkpoint(micro / "vanilla", 3.0, 2).weights_digest
    assert models["trained"]["name"] == trained[Part.ROUTING].name
    assert models["trained"]["weights_digest"] == inspect_checkpoint(trained[Part.ROUTING]).weights_digest
    assert models["wrapped"]["name"] == trained[Part.GAINS].name
    manifest = json.loads((trained[Part.ROUTING] / "manifest.json").read_text())
    assert manifest["weights"] == models["trained"]["weights_digest"]


def test_a_model_that_is_no_retrofit_has_no_base(suite: Any, pytester: Any) -> None:
    suite(claims=GAINED)
    record = json.loads((pytester.path / "reports" / "latest.json").read_text())
    assert {claim["verdict"] for claim in record["claims"]} == {"NOT APPLICABLE"}
    assert all("is no retrofit of routing; give one with --attnres-trained" in c["reason"] for c in record["claims"])


def test_a_control_is_no_retrofit_of_routing(suite: Any, trained: dict[Part, Path], pytester: Any) -> None:
    gains = trained[Part.GAINS]
    suite(f"--attnres-trained={gains}", f"--attnres-vanilla={gains}", "--attnres-recency-bias=3", claims=GAINED)
    record = json.loads((pytester.path / "reports" / "latest.json").read_text())
    assert {claim["verdict"] for claim in record["claims"]} == {"NOT APPLICABLE"}


def test_the_base_is_no_control(suite: Any, trained: dict[Part, Path], pytester: Any) -> None:
    suite(f"--attnres-trained={trained[Part.ROUTING]}", "--attnres-recency-bias=3", claims=GAINED)
    record = json.loads((pytester.path / "reports" / "latest.json").read_text())
    gains, helps, _ = record["claims"]
    assert gains["verdict"] == "NOT APPLICABLE" != helps["verdict"]
    assert "is no control of this retrofit; give one with --attnres-vanilla" in gains["reason"]


def test_nothing_is_measured_for_a_claim_that_does_not_apply(suite: Any, pytester: Any) -> None:
    suite(
        claims="""
from attnres_core import BASE, CURRENT, MLP, TRAINED, claim, drop

@claim(trained=drop(CURRENT, MLP).on(TRAINED), base=drop(CURRENT, MLP).on(BASE))
def test_the_base_has_less_of_it(trained, base):
    assert trained - base > 0
"""
    )
    record = json.loads((pytester.path / "reports" / "latest.json").read_text())
    assert [claim["verdict"] for claim in record["claims"]] == ["NOT APPLICABLE"]
    assert record["columns"] == []
    assert not list((pytester.path / ".attnres").rglob("*.safetensors"))


def test_what_was_measured_of_a_model_in_one_role_was_seen_in_every_other(
    trained: dict[Part, Path], micro: Path, tmp_path: Path
) -> None:
    """A base in the place of the vanilla model is measured as `wrapped`: claims about `base` come after that."""
    retrofitted = inspect_checkpoint(trained[Part.ROUTING])
    base = inspect_checkpoint(micro / "vanilla", OWN_FUNCTION, 2)
    prompts = load_prompts(micro / "prompts.jsonl")
    splits = {split: prompts.part(split) for split in Split}
    models = {Role.TRAINED: retrofitted, Role.WRAPPED: base, Role.BASE: base}
    material, store = Material(models, (), splits, "cpu", "float32"), Store(tmp_path)
    (key,) = material.resolved(ac.drop(ac.CURRENT, ac.MLP).on(ac.BASE)).keys
    assert Measurements(store, material).touched(Role.BASE, [key], Split.CONFIRMATION) == set()
    chunk = material.chunk_key(Role.WRAPPED, material.chunks(Split.CONFIRMATION)[0])
    unit = {key: {"delta_nll": np.zeros(2)}}
    store.add_units(material.model_key(Role.WRAPPED), chunk, unit, material.about(Role.WRAPPED))
    seen = {f"{base.name} ({base.digest[:12]})"}
    assert Measurements(Store(tmp_path), material).touched(Role.BASE, [key], Split.CONFIRMATION) == seen
    assert not Measurements(Store(tmp_path), material).touched(Role.TRAINED, [key], Split.CONFIRMATION)


def test_losses_of_models_with_other_tokenizers_are_not_compared(
    trained: dict[Part, Path], micro: Path, tmp_path: Path
) -> None:
    gains, other = inspect_checkpoint(trained[Part.GAINS]), ac.reference("tiny-vanilla")
    models = {Role.TRAINED: inspect_checkpoint(trained[Part.ROUTING]), Role.WRAPPED: gains}
    terms = ((ac.loss().on(ac.TRAINED), 1.0), (ac.loss().on(ac.WRAPPED), -1.0))
    statement = Statement(Linear(terms, 0.0), Operator.ABOVE, 0.0)
    Measurements(Store(tmp_path), Material(models, (), {}, "cpu", "float32")).check_tokens(statement)
    models[Role.WRAPPED] = inspect_checkpoint(other, 10.0, 4)
    with pytest.raises(ValueError, match=r"models with different tokenizers: trained \(.*\), wrapped \(tiny-vanilla\)"):
        Measurements(Store(tmp_path), Material(models, (), {}, "cpu", "float32")).check_tokens(statement)


def test_another_base_of_the_same_name_is_another_run(trained: dict[Part, Path], micro: Path, tmp_path: Path) -> None:
    folder, given = trained[Part.ROUTING], str(micro / "vanilla")
    recipe = retrofit.RetrofitRecipe(**json.loads((folder / "manifest.json").read_text())["recipe"])
    assert retrofit.prepared(given, recipe, folder.parent).folder == folder
    other = configure(shutil.copytree(micro / "vanilla", tmp_path / "vanilla"), rms_norm_eps=1e-5)
    with pytest.raises(ValueError, match=r"holds a retrofit of weights .*; give another --out"):
        retrofit.prepared(str(other), recipe, folder.parent)


@EACH
@pytest.mark.parametrize("name", ["vanilla_21", "nanogpt_31", "fla_transformer_42"])
def test_any_backbone_that_can_be_wrapped_can_be_retrofitted(
    conformance: Path, tmp_path: Path, name: str, part: Part
) -> None:
    """As `save` writes it, of numbers drawn at random: the files give the model back to the bit."""
    folder = baseline(conformance / name, tmp_path / "base")
    base = retrofit.wrapped_base(str(folder), recipe_of(part))
    model = load_checkpoint(base)
    assert retrofit.freeze(model.network, part) == sum(
        value.numel() for value in retrofit.trained(model.network).values()
    )
    generator = torch.Generator().manual_seed(0)
    for value in retrofit.trained(model.network).values():
        value.copy_(torch.randn(value.shape, generator=generator).to(torch.bfloat16))
    own = Retrofit("../base", None, base.weights_digest, 2, 3.0, part)
    retrofit.save(model.network, base, own, {}, tmp_path / "retrofit")
    again = ac.load_model(tmp_path / "retrofit")
    assert torch.equal(again.logits(IDS), model.logits(IDS))
    assert again.checkpoint.backbone == base.backbone
    assert again.checkpoint.digest != base.digest


def moved(trained: dict[Part, Path], micro: Path, tmp_path: Path, part: Part = Part.ROUTING) -> Path:
    """A copy of a retrofit that names the small vanilla model wherever the copy lies."""
    folder = shutil.copytree(trained[part], tmp_path / "retrofit")
    return configure(folder, base=os.path.relpath(micro / "vanilla", folder))


def test_a_base_that_is_another_or_missing_is_told(trained: dict[Part, Path], micro: Path, tmp_path: Path) -> None:
    folder = moved(trained, micro, tmp_path)
    ac.load_model(folder)
    other = configure(shutil.copytree(micro / "vanilla", tmp_path / "other"), rms_norm_eps=1e-5)
    found, remedy = refusal(configure(folder, base=os.path.relpath(other, folder)))
    own, others = (weights_digest(each)[:12] for each in (micro / "vanilla", other))
    assert found == f"a retrofit of {os.path.relpath(other, folder)} with the digest {own}; {other} has {others}"
    assert remedy == "Get the base that it was trained on."
    assert refusal(configure(folder, base="."))[1] == "Give its base as the base."
    for nowhere in ("nothing", str(other), "n" * 5000, "/etc", "~/x", "a/b/c"):
        assert refusal(configure(folder, base=nowhere))[1] == "Get its base: copy it beside this."


def test_a_base_that_can_be_fetched_is_told(
    trained: dict[Part, Path], micro: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = configure(moved(trained, micro, tmp_path), base="smollm2")
    found, remedy = refusal(folder)
    assert found == "a retrofit of 'smollm2', which is not here"
    assert remedy == "Get its base: `python -m attnres_core fetch smollm2`."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base", 3),
        ("base_weights", None),
        ("num_blocks", True),
        ("trained", "all"),
        ("recency_bias", "5"),
    ],
)
def test_a_config_that_says_no_retrofit_is_refused(
    trained: dict[Part, Path], micro: Path, tmp_path: Path, field: str, value: object
) -> None:
    folder = moved(trained, micro, tmp_path)
    found, remedy = refusal(configure(folder, **{field: value}))
    assert found.startswith("a retrofit ")
    assert repr(value) in found
    assert remedy == "Correct config.json."


def test_a_recency_bias_beyond_any_float_is_refused(trained: dict[Part, Path], micro: Path, tmp_path: Path) -> None:
    folder = configure(moved(trained, micro, tmp_path), recency_bias=10**400)
    assert refusal(folder) == ("a retrofit with a recency_bias beyond any float", "Correct config.json.")


def test_tensors_that_were_not_to_be_trained_are_refused(
    trained: dict[Part, Path], micro: Path, tmp_path: Path
) -> None:
    """A file that replaced the base's weights would be another model under its name."""
    folder = moved(trained, micro, tmp_path)
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": torch.zeros(96, 32)}))
    assert refusal(folder)[0] == "a retrofit of routing with other tensors (lm_head.weight)"


def test_gains_are_all_of_them_and_of_their_shapes(trained: dict[Part, Path], micro: Path, tmp_path: Path) -> None:
    folder = moved(trained, micro, tmp_path, Part.GAINS)
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(7)}))
    assert refusal(folder)[0] == "a retrofit of gains with other tensors (model.norm.weight)"
    rewrite(folder, lambda tensors: tensors.pop("model.norm.weight"))
    assert refusal(folder)[0] == "a retrofit of gains with other tensors (model.norm.weight)"


def test_routing_is_not_wrapped_and_a_control_only_as_it_was(
    trained: dict[Part, Path], micro: Path, tmp_path: Path
) -> None:
    routing, gains = trained[Part.ROUTING], trained[Part.GAINS]
    assert refusal(routing, wrap=3.0, num_blocks=2)[1] == "Give its base to wrap."
    assert refusal(routing, num_blocks=3)[1] == "Give 2, or leave it out."
    assert refusal(gains, wrap=10.0)[1] == "Give --attnres-recency-bias 3."
    assert ac.load_model(gains, wrap=3.0, num_blocks=2).dialect == "wrapped"


def test_a_cluster_is_not_sent_half_of_a_retrofit(trained: dict[Part, Path]) -> None:
    asked = Asked("cpu", "float32", (inspect_checkpoint(trained[Part.ROUTING]),), 1, None, None, None)
    with pytest.raises(ValueError, match=r"vanilla-routing-.* is a retrofit, whose base would not be sent along"):
        executors.choose("ray", asked)


def test_a_folder_of_another_recipe_is_left_alone(trained: dict[Part, Path], micro: Path) -> None:
    other = dataclasses.replace(RECIPE, recency_bias=4.0)
    out = trained[Part.ROUTING].parent
    with pytest.raises(ValueError, match=r"holds a checkpoint of another recipe \(recency_bias 3.0\)"):
        retrofit.prepared(str(micro / "vanilla"), other, out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny-vanilla", "--retrofit", "tiny-vanilla"], "--retrofit tiny-vanilla, and tiny-vanilla; give one of them"),
        (["tiny-vanilla", "--control", "gains"], "--control: for --retrofit BASE; leave it out"),
        (["--retrofit", "tiny-open-block"], "Only a vanilla checkpoint can be wrapped"),
        (["--retrofit", "tiny-vanilla", "--steps", "3", "--keep", "4"], "--keep 4: the run has steps 0 to 3"),
        (["--retrofit", "tiny-vanila"], "no reference checkpoint 'tiny-vanila'; there are: "),
    ],
)
def test_what_cannot_be_trained_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", *arguments, "--out", str(tmp_path)])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
