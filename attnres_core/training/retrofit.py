"""Retrofit: routing trained after the fact on a pretrained vanilla model, and the control that trains gains alone.

Both start from the wrapped model (queries zero, one recency bias) with all its weights frozen, and read the same text
in the same order for as many steps. Kept is what was trained, in bfloat16, beside the name and digest of the base.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm

from attnres_core import shipped
from attnres_core.models.checkpoints.checkpoint import (
    NativeCheckpoint,
    RetrofittedCheckpoint,
    inspect_checkpoint,
)
from attnres_core.models.checkpoints.retrofit import OWN_FUNCTION, Part, Retrofit, read_retrofit
from attnres_core.models.loading import load_checkpoint
from attnres_core.prompts import read_tokenizer
from attnres_core.training import train
from attnres_core.training.corpus import build, sources

EVALUATED = 128
"""Held-out documents that are scored before and after."""
SAVE_EVERY = 25
"""Steps after which a run can be resumed: about a minute's work, on a model of 135 M parameters."""


@dataclass(frozen=True, slots=True)
class RetrofitRecipe(train.Recipe):
    """Everything that decides the numbers, beside the base and the text: 600 thousand tokens."""

    steps: int = 586
    batch: int = 8
    learning_rate: float = 3e-3
    """Over 40 steps on smollm2, routing at 3e-3 has lower losses than at 1e-3 in every window of five steps from the
    second on; at 1e-2 they rise at first."""
    warmup: int = 20
    weight_decay: float = 0.0
    precision: str = "bfloat16"
    marked: int = 4
    """Windows of a batch that begin with a document and the end-of-text mark before it; the others begin anywhere. A
    pretrained model reads its first token as no other, and the mark there as no other first token: routing that was
    trained on windows without it lowered the loss of such text by .18, and raised that after a mark by .05."""
    part: str = Part.ROUTING.value
    num_blocks: int = 8
    recency_bias: float = 5.0
    """At 10 the softmax is saturated: its gradient is e^5 times smaller."""


def freeze(model: nn.Module, part: Part) -> int:
    """Freeze all of a model but one part, and return how many numbers that has.

    Raises:
        ValueError: it has none.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part.holds(name))
    count = sum(each.numel() for each in model.parameters() if each.requires_grad)
    if not count:
        raise ValueError(f"the model has no {part} to train")
    return count


def trained(model: nn.Module) -> dict[str, Tensor]:
    """What is not frozen, by our names."""
    return {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}


def wrapped_base(given: str, recipe: RetrofitRecipe) -> NativeCheckpoint:
    """The vanilla checkpoint of a folder, hub id or name, as it is wrapped before training.

    Raises:
        ValueError: it cannot be wrapped here.
    """
    base = inspect_checkpoint(shipped.resolved(given), recipe.recency_bias, recipe.num_blocks)
    if not isinstance(base, NativeCheckpoint) or base.wrap is None or isinstance(base, RetrofittedCheckpoint):
        raise ValueError(f"{given}: routing is trained after the fact on vanilla models that the library computes")
    return base


def end_of_text(tokenizer: Tokenizer, base: NativeCheckpoint) -> int:
    """The token between documents: `<|endoftext|>`, else the config's `eos_token_id`, else the first token."""
    found = tokenizer.token_to_id(train.END)
    stated = base.config.get("eos_token_id")
    if isinstance(stated, list) and stated:
        stated = stated[0]  # (of Llama 3, which ends turns with others)
    return found if found is not None else stated if isinstance(stated, int) else 0


def save(model: nn.Module, base: NativeCheckpoint, own: Retrofit, manifest: dict[str, object], folder: Path) -> None:
    """The retrofit's folder: config, what was trained (in bfloat16, under the base's names) and a manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    names = base.backbone.names(base.config)
    tensors = {names.theirs(name): value.cpu().to(torch.bfloat16) for name, value in trained(model).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it for the owner alone
    (folder / "config.json").write_text(json.dumps(own.fields(), indent=2) + "\n")
    manifest = {**manifest, "weights": inspect_checkpoint(folder).weights_digest}  # (with its base)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def named_base(given: str, base: NativeCheckpoint, folder: Path) -> str:
    """The base as a retrofit in `folder` names it: a name or hub id as given, another folder as seen from there."""
    named = given in shipped.checkpoints() and not Path(given).exists()  # (a folder of that name goes first)
    return given if named or base.repository is not None else os.path.relpath(base.folder, folder.resolve())


@dataclass(frozen=True, slots=True)
class Run:
    """One part of one base, to be trained from one seed."""

    given: str
    """The base, as it was asked for."""
    base: NativeCheckpoint
    recipe: RetrofitRecipe
    folder: Path
    """Where the retrofit goes."""

    def store(self, model: nn.Module, step: int, scored: Scored, about: Mapping[str, object]) -> None:
        """Score and store what was trained, rounded to bfloat16; the model goes on unrounded."""
        recipe, base = self.recipe, self.base
        folder = self.folder if step == recipe.steps else self.folder / f"checkpoint-{step}"
        exact = {name: value.clone() for name, value in trained(model).items()}
        _put(model, {name: value.to(torch.bfloat16) for name, value in exact.items()})
        scores = scored.against(model)
        told = ["{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**nll["change"]) for nll in scores.values()]
        tqdm.write(f"{self.folder.name} at step {step}: held-out NLL {told[0]} nats/token, {told[1]} without a mark")
        named = named_base(self.given, base, folder)
        own = Retrofit(
            *(named, base.commit, base.weights_digest, recipe.num_blocks, recipe.recency_bias, Part(recipe.part))
        )
        manifest = {
            "name": self.folder.name,
            "command": shlex.join(["python", "-m", "attnres_core", *sys.argv[1:]]),
            "recipe": asdict(recipe),
            "step": step,
            "tokens": step * recipe.batch * recipe.length,
            **scores,
            "stored_as": "bfloat16",
        }
        save(model, base, own, {**manifest, **about}, folder)
        _put(model, exact)


READINGS = {"held_out_nll": 0, "held_out_nll_without_mark": 1}
"""What held-out documents are scored for: from their end-of-text mark on, and from the token after it."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Held-out documents, and what the base makes of them as it computes its own function."""

    documents: Sequence[np.ndarray]
    before: Mapping[str, np.ndarray]
    """By reading, of each document, summed NLL and tokens."""
    device: str

    @classmethod
    def of(cls, base: NativeCheckpoint, documents: Sequence[np.ndarray], device: str) -> Scored:
        """Score a base, which leaves memory again."""
        network = load_checkpoint(dataclasses.replace(base, wrap=OWN_FUNCTION), device).network
        return cls(documents, _read(network, documents, device), device)

    def against(self, model: nn.Module) -> dict[str, dict[str, dict[str, float]]]:
        """By reading, the loss before and after, and its change over the same documents, each with a 95 % interval."""
        scores = {}
        for reading, after in _read(model, self.documents, self.device).items():
            before = self.before[reading]
            scored = {"before": before, "after": after, "change": after - before * [1, 0]}
            scores[reading] = {what: train.summarise_nll(per_document) for what, per_document in scored.items()}
        return scores


def _read(model: nn.Module, documents: Sequence[np.ndarray], device: str) -> dict[str, np.ndarray]:
    return {
        reading: train.document_nll(model, [ids[first:] for ids in documents], device)
        for reading, first in READINGS.items()
    }


@torch.no_grad()
def _put(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, parameter in trained(model).items():
        parameter.copy_(values[name])


def prepared(given: str, recipe: RetrofitRecipe, out: Path) -> Run:
    """The run that trains a part of a base into a folder of `out`.

    Raises:
        ValueError: the base cannot be wrapped, or the folder holds another recipe's, or another base's.
    """
    base = wrapped_base(given, recipe)
    folder = out / f"{base.name}-{recipe.part}-{recipe.seed}"
    train.refuse_another(folder, recipe)
    if (folder / "config.json").is_file():
        found = read_retrofit(folder, json.loads((folder / "config.json").read_text())).base_weights
        if found != base.weights_digest:
            told = f"{folder} holds a retrofit of weights {found[:12]}, and {given} has {base.weights_digest[:12]}"
            raise ValueError(f"{told}; give another --out")
    return Run(given, base, recipe, folder)


def main(run: Run, *, device: str, scratch: Path, compiled: bool = False, kept_steps: Sequence[int] = ()) -> None:
    """Train it; a stopped run resumes from `scratch`."""
    base, recipe = run.base, run.recipe
    scratch.mkdir(parents=True, exist_ok=True)
    tqdm.write("reading the installed packages' docstrings ...")
    corpus, tokenizer = build(), read_tokenizer(base.tokenizer_file)
    end = end_of_text(tokenizer, base)
    documents = train.encode(tokenizer, corpus.train, end)
    held_out = [ids[: train.EVAL_LENGTH] for ids in train.encode(tokenizer, corpus.held_out[:EVALUATED], end)]
    scored = Scored.of(base, held_out, device)
    model = load_checkpoint(base, device).network
    numbers = freeze(model, Part(recipe.part))
    tokens, of = recipe.steps * recipe.batch * recipe.length, sum(map(len, documents))
    tqdm.write(f"{numbers:,} numbers of {base.name} are trained on {tokens:,} of {of:,} tokens")
    earlier = [step for step in kept_steps if step < recipe.steps]

    def keep(step: int, model: nn.Module) -> None:
        if step in earlier:
            run.store(model, step, scored, {})

    state_file = train.state_of(scratch, run.folder.name, recipe, documents, base.weights_digest)
    begins = train.refuse_passed(run.folder, earlier)
    curve = train.optimise(
        *(model, train.batches(documents, recipe, recipe.marked), recipe, state_file),
        compiled=compiled,
        save_every=SAVE_EVERY,
        keep=keep,
        begins=begins,
    )
    data = {"digest": corpus.digest, "held_out_documents": len(held_out), "sources": sources()}
    about = {"numbers": numbers, "curve": curve, "device": device, "torch": torch.__version__, "data": data}
    run.store(model, recipe.steps, scored, about)
