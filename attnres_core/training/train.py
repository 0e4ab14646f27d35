"""Train the reference checkpoints: same tokens, same order, same seed, other ways of reading depth."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from scipy import stats
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.qwen3.configuration_qwen3 import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM

from attnres_core.models.checkpoints.checkpoint import weights_digest
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.networks.nanogpt import NanoGPTForCausalLM
from attnres_core.models.networks.qwen3 import Qwen3AttnResConfig, Qwen3AttnResForCausalLM
from attnres_core.training import babylm_shape, corpus, extended_corpus, hyper_connected
from attnres_core.training.corpus import Corpus, Document

NAMES = ("tiny-open-block", "tiny-vanilla", "tiny-kimi-block")
HYPER_CONNECTED, NANOGPT = "tiny-hyper-connections", "tiny-nanogpt"
LARGER = ("small-open-block", "small-vanilla", "small-kimi-block")
"""Twice as deep as the tiny ones, with as wide a state: trained on the longer text, tokenised alike."""
END = "<|endoftext|>"
VOCABULARY = 4096
LONGEST = 512
"""Positions that a text may have."""
NUM_BLOCKS = 4
LARGER_LAYERS, LARGER_BLOCKS = 24, 8
EVAL_LENGTH = 128


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the numbers, beside the text."""

    steps: int = 4000
    batch: int = 16
    length: int = 128
    learning_rate: float = 3e-3
    warmup: int = 100
    weight_decay: float = 0.1
    clip: float = 1.0
    seed: int = 20261122
    precision: str = "bfloat16"
    """Precision of matrix products under autocast; weights and routing stay float32."""


def base_config() -> dict[str, Any]:
    """The Qwen3 shape of the tiny three (2.9 M parameters); the larger three have more layers of it (5.3 M)."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 384,
        "max_position_embeddings": LONGEST,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": True,
        "use_cache": False,
        "bos_token_id": None,
        "eos_token_id": 0,
    }


def build_model(name: str, seed: int) -> nn.Module:
    """A model at its seeded initialisation; the weights that models share are equal, pseudo-queries are zero."""
    if name == NANOGPT:
        return babylm_shape.build(babylm_shape.config(VOCABULARY), seed)
    torch.manual_seed(seed)
    if name == HYPER_CONNECTED:
        return hyper_connected.build(VOCABULARY, LONGEST)
    fields, blocks = base_config(), NUM_BLOCKS
    if name in LARGER:
        fields["num_hidden_layers"], blocks = LARGER_LAYERS, LARGER_BLOCKS
    vanilla = Qwen3ForCausalLM(Qwen3Config(**fields))
    if name.endswith("-vanilla"):
        return vanilla
    fields |= {"attnres_mode": "block", "attnres_num_blocks": blocks, "attnres_gate_type": "bias"}
    config = Qwen3AttnResConfig(**fields)
    kind = OpenBlock if name.endswith("-open-block") else KimiBlock
    model = Qwen3AttnResForCausalLM(config, kind(config.num_hidden_layers, blocks))
    model.load_state_dict(vanilla.state_dict(), strict=False)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("_res_proj.weight"):
            nn.init.zeros_(parameter)
    model.tie_weights()
    return model


def train_tokenizer(documents: Sequence[Document]) -> Tokenizer:
    """Byte-level BPE of `VOCABULARY` entries, trained on the training split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((document.text for document in documents), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, documents: Sequence[Document], end: int | None = None) -> list[np.ndarray]:
    """Token ids of every document, each after an end-of-text mark (default: `END`)."""
    end = tokenizer.token_to_id(END) if end is None else end
    batch = tokenizer.encode_batch([document.text for document in documents], add_special_tokens=False)
    return [np.array([end, *encoding.ids], dtype=np.int64) for encoding in batch]


def batches(documents: Sequence[np.ndarray], recipe: Recipe, marked: int = 0) -> Iterator[Tensor]:
    """Batches `[batch, length + 1]` in an order that the seed alone decides; a fresh shuffle every epoch.

    Args:
        documents: token ids of each, its end-of-text mark first.
        recipe: the sizes of a batch, and the seed.
        marked: windows of a batch that begin with a document, the first of it; the others begin anywhere.

    Raises:
        ValueError: all windows are to begin with a document, or the text is too short for a batch.
    """
    rng, size, anywhere = np.random.default_rng(recipe.seed), recipe.length + 1, recipe.batch - marked
    if not 0 <= marked < recipe.batch:
        raise ValueError(
            f"{marked} of {recipe.batch} windows of a batch are to begin at a mark; take 0 to {recipe.batch - 1}"
        )
    while True:
        order = rng.permutation(len(documents))
        stream = np.concatenate([documents[i] for i in order])
        starts = np.cumsum([0, *(len(documents[i]) for i in order)])
        starts = rng.permutation(starts[starts <= len(stream) - size]) if marked else starts
        others = rng.permutation(len(stream) // size) * size
        whole = min(len(others) // anywhere, len(starts) // marked if marked else len(others))
        if not whole:
            raise ValueError(f"the text has {len(stream)} tokens: too few for a batch of {recipe.batch} x {size}")
        for batch in range(whole):
            own = starts[batch * marked :][:marked], others[batch * anywhere :][:anywhere]
            yield torch.from_numpy(np.stack([stream[start : start + size] for start in np.concatenate(own)]))


def ngram_nll(train: Sequence[np.ndarray], held_out: Sequence[np.ndarray]) -> dict[str, float]:
    """Held-out NLL (nats/token) of a unigram and an interpolated bigram (absolute discounting) model."""
    unigram = np.ones(VOCABULARY)
    pairs: Counter[int] = Counter()
    for ids in train:
        unigram += np.bincount(ids, minlength=VOCABULARY)
        pairs.update((ids[:-1] * VOCABULARY + ids[1:]).tolist())
    probability = unigram / unigram.sum()
    context, kinds = np.zeros(VOCABULARY), np.zeros(VOCABULARY)
    for pair, count in pairs.items():
        context[pair // VOCABULARY] += count
        kinds[pair // VOCABULARY] += 1
    discount, total = 0.75, np.zeros(2)
    tokens = 0
    for ids in held_out:
        before, after = ids[:-1], ids[1:]
        both = np.array([pairs.get(pair, 0) for pair in (before * VOCABULARY + after).tolist()])
        seen = np.maximum(context[before], 1)
        backoff = np.where(context[before] > 0, discount * kinds[before] / seen, 1.0)
        bigram = np.maximum(both - discount, 0) / seen + backoff * probability[after]
        total += -np.log(probability[after]).sum(), -np.log(bigram).sum()
        tokens += len(after)
    return {"unigram": total[0] / tokens, "bigram": total[1] / tokens}


@torch.no_grad()
def document_nll(model: nn.Module, documents: Sequence[np.ndarray], device: str) -> np.ndarray:
    """Summed NLL and token count of each document, `[document, 2]`, batched by length."""
    model.eval()
    result = np.zeros((len(documents), 2))
    order = sorted(range(len(documents)), key=lambda i: len(documents[i]))
    for start in tqdm(range(0, len(order), 32), desc="scoring", unit=" x 32 documents", leave=False, disable=None):
        rows = order[start : start + 32]
        width = max(len(documents[i]) for i in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        target = torch.full((len(rows), width - 1), -100)
        for row, i in enumerate(rows):  # right padding: causal, so it changes nothing before it
            ids[row, : len(documents[i])] = torch.from_numpy(documents[i])
            target[row, : len(documents[i]) - 1] = ids[row, 1 : len(documents[i])]
        logits = logits_of(model, ids[:, :-1].to(device)).float().cpu()
        losses = nn.functional.cross_entropy(logits.transpose(1, 2), target, reduction="none")
        result[rows, 0] = losses.sum(1).double().numpy()
        result[rows, 1] = (target >= 0).sum(1).numpy()
    model.train()
    return result


def logits_of(model: Callable[[Tensor], Any], ids: Tensor) -> Tensor:
    """Logits of either kind of model."""
    output = model(ids)
    return output if isinstance(output, Tensor) else output.logits


def summarise_nll(per_document: np.ndarray, confidence: float = 0.95) -> dict[str, float]:
    """Token-weighted mean with a t interval over documents (linearised ratio)."""
    total, count = per_document.sum(0)
    mean = total / count
    residual = (per_document[:, 0] - mean * per_document[:, 1]) / per_document[:, 1].mean()
    half = float(stats.t.ppf((1 + confidence) / 2, len(residual) - 1)) * stats.sem(residual)
    return {"mean": float(mean), "low": float(mean - half), "high": float(mean + half), "documents": len(residual)}


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then cosine to a tenth."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


RECIPES = {
    HYPER_CONNECTED: Recipe(steps=1500, precision="float32"),
    NANOGPT: Recipe(steps=1000),
    **dict.fromkeys(LARGER, Recipe(steps=7400)),
}
"""Of what is not trained like the three: two for fewer steps, since a step costs more (and no less in bfloat16 with
streams); the larger ones for more, 15 M tokens."""


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over what is not frozen; only matrices decay."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() >= 2 and p.shape[0] > 1]
    rest = [p for p in trained if p.dim() < 2 or p.shape[0] == 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def train_one(
    name: str,
    documents: Sequence[np.ndarray],
    recipe: Recipe,
    *,
    device: str,
    scratch: Path,
    compiled: bool,
    save_every: int = 500,
    keep: Callable[[int, nn.Module], None] | None = None,
    begins: Callable[[int], None] = lambda step: None,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train one model, resuming from `scratch` where an earlier run of the same recipe stopped.

    Its state is saved every `save_every` steps; a multiple of 100 keeps a resumed curve's means whole. `keep` sees
    the model at every step, the first before any update; `begins` hears from which step on.
    """
    model = build_model(name, recipe.seed).to(device)
    state_file = state_of(scratch, f"{name}-{recipe.seed}", recipe, documents)
    curve = optimise(
        *(model, batches(documents, recipe), recipe, state_file),
        compiled=compiled,
        save_every=save_every,
        keep=keep,
        begins=begins,
    )
    return model, curve


def state_of(scratch: Path, name: str, recipe: Recipe, documents: Sequence[np.ndarray], base: str = "") -> Path:
    """The file of a run's state: of its recipe, its tokens and its base's weights, so that no other run is resumed."""
    digest = hashlib.sha256(repr((base, sorted(asdict(recipe).items()))).encode())
    for ids in documents:
        digest.update(ids.tobytes())
    return scratch / f"{name}-{digest.hexdigest()[:12]}.pt"


def optimise(
    model: nn.Module,
    feed: Iterator[Tensor],
    recipe: Recipe,
    state_file: Path,
    *,
    compiled: bool,
    save_every: int,
    keep: Callable[[int, nn.Module], None] | None = None,
    begins: Callable[[int], None] = lambda step: None,
) -> list[dict[str, float]]:
    """Train what is not frozen of a model where it lies, and return its curve.

    `feed` gives the batches from step 0 on; other arguments are as for `train_one`.
    The state file holds all but the frozen weights. One of another recipe is not resumed.
    """
    frozen = {name for name, each in model.named_parameters(remove_duplicate=False) if not each.requires_grad}
    name, device = state_file.stem.rsplit("-", 1)[0], str(next(model.parameters()).device)
    model.train()
    optimizer = make_optimizer(model, recipe)
    step, curve = 0, list[dict[str, float]]()
    if state_file.exists():
        state = torch.load(state_file, weights_only=True, map_location=device)
        if state["recipe"] == asdict(recipe):
            model.load_state_dict(state["model"], strict=not frozen)
            optimizer.load_state_dict(state["optimizer"])
            step, curve = state["step"], state["curve"]
    begins(step)

    def loss_of(ids: Tensor) -> Tensor:
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = logits_of(model, ids[:, :-1])
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())

    run = torch.compile(loss_of) if compiled else loss_of
    for _ in range(step):
        next(feed)
    bar = tqdm(total=recipe.steps, initial=step, desc=name, unit="step", mininterval=5)
    recent, told_every = list[float](), min(100, save_every)
    if keep is not None and step == 0:
        keep(0, model)
    while step < recipe.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        ids = next(feed).to(device)
        with plain_attention(device):
            loss = run(ids)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"{name}: the loss is {loss.item()} at step {step}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        step += 1
        recent.append(loss.item())
        bar.update()
        if keep is not None:
            keep(step, model)
        if step % told_every == 0 or step == recipe.steps:
            curve.append({"step": step, "loss": round(sum(recent) / len(recent), 4)})
            bar.set_postfix(loss=f"{curve[-1]['loss']:.3f}")
            recent.clear()
        if step % save_every == 0 or step == recipe.steps:
            own = {key: value for key, value in model.state_dict().items() if key not in frozen}
            state = {"model": own, "optimizer": optimizer.state_dict(), "step": step}
            temporary = state_file.with_suffix(".tmp")
            torch.save({**state, "curve": curve, "recipe": asdict(recipe)}, temporary)
            os.replace(temporary, state_file)
    bar.close()
    return curve


def plain_attention(device: str) -> AbstractContextManager[None]:
    """Attention by plain products on a CPU: the backward pass of its fused kernel takes 16 times as long as forward."""
    return sdpa_kernel(SDPBackend.MATH) if device.startswith("cpu") else nullcontext()


def save(model: nn.Module, tokenizer: Tokenizer, manifest: dict[str, Any], folder: Path) -> None:
    """A `save_pretrained` folder with its manifest, which ends with the weights' digest; every file is made anew."""
    folder.mkdir(parents=True, exist_ok=True)
    model = model.cpu()
    if isinstance(model, NanoGPTForCausalLM):
        babylm_shape.write(model, folder)
    else:
        cast(PreTrainedModel, model).save_pretrained(folder)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
    wrapped.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes it for the owner alone
    manifest = {**manifest, "weights": weights_digest(folder)}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


class PassedStep(ValueError):
    """A step that is to be kept lies before the one that a run resumes from."""


def refuse_passed(folder: Path, kept_steps: Sequence[int]) -> Callable[[int], None]:
    """Refuse to go on from a step behind one that is to be kept and was not.

    Raises (when it is called with the step):
        PassedStep: which steps, and what to do.
    """

    def check(begun: int) -> None:
        missing = [step for step in kept_steps if not (folder / f"checkpoint-{step}").is_dir()]
        passed = [step for step in missing if step <= begun] if begun else []
        if passed:
            raise PassedStep(
                f"--keep {' '.join(map(str, passed))}: the run that is resumed is at step {begun} and kept none of "
                "these; leave them out, or give an empty --scratch to begin again"
            )

    return check


def refuse_another(folder: Path, recipe: Recipe) -> None:
    """Leave a checkpoint of another recipe as it is.

    Raises:
        ValueError: `folder` holds one, or a manifest that cannot be read.
    """
    manifest = folder / "manifest.json"
    try:
        found = json.loads(manifest.read_text())["recipe"] if manifest.is_file() else asdict(recipe)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{manifest}: unreadable ({error!r}); give another --out") from None
    other = [f"{name} {found.get(name)}" for name, value in asdict(recipe).items() if found.get(name) != value]
    if other:
        raise ValueError(f"{folder} holds a checkpoint of another recipe ({', '.join(other)}); give another --out")


@dataclass(frozen=True, slots=True)
class Text:
    """What models are trained and scored on, in tokens."""

    train: list[np.ndarray]
    held_out: list[np.ndarray]
    """The first `EVAL_LENGTH` tokens of each document."""
    baselines: dict[str, float]
    about: dict[str, Any]
    """Digest, counts and sources, for manifests."""


def read_text(scratch: Path, *, longer: bool) -> tuple[Tokenizer, Text]:
    """The tokenizer, which is kept in `scratch`, and the text: the corpus, or the longer one that is held out alike."""
    tqdm.write("reading the installed packages' docstrings ...")
    known: Corpus = corpus.build()
    tokenizer_file = scratch / f"tokenizer-{known.digest[:16]}.json"
    if tokenizer_file.exists():
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    else:
        tokenizer = train_tokenizer(known.train)
        tokenizer.save(str(tokenizer_file))
    read = extended_corpus.build(known) if longer else known
    train, held_out = encode(tokenizer, read.train), encode(tokenizer, read.held_out)
    held_out = [ids[:EVAL_LENGTH] for ids in held_out]
    baselines = ngram_nll(train, held_out)
    tqdm.write(
        f"{len(train)} training documents, {sum(map(len, train)):,} tokens; {len(held_out)} held out; "
        + ", ".join(f"{name} {value:.3f}" for name, value in baselines.items())
    )
    about = {
        "digest": read.digest,
        "train_documents": len(read.train),
        "train_tokens": sum(map(len, train)),
        "held_out_documents": len(read.held_out),
        "held_out_tokens_scored": int(sum(len(ids) - 1 for ids in held_out)),
        "sources": extended_corpus.sources() if longer else corpus.sources(),
    }
    return tokenizer, Text(train, held_out, baselines, about)


def main(
    recipes: Mapping[str, Recipe],
    out: Path,
    *,
    device: str,
    scratch: Path,
    compiled: bool = False,
    kept_steps: Sequence[int] = (),
) -> None:
    """Train models of one text, one after the other, into `out/<name>`.

    Kept steps are in `out/<name>/checkpoint-<step>`, the name that the transformers Trainer gives. They are rounded to
    bfloat16, to be small.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer, text = read_text(scratch, longer=not set(recipes).isdisjoint(LARGER))
    command = shlex.join(["python", "-m", "attnres_core", *sys.argv[1:]])
    for name, recipe in recipes.items():
        started = time.monotonic()

        def keep(step: int, model: nn.Module, name: str = name, recipe: Recipe = recipe) -> None:
            if step not in kept_steps:
                return
            small = copy.deepcopy(model).to(torch.bfloat16)
            nll = summarise_nll(document_nll(copy.deepcopy(small).float(), text.held_out, device))
            tqdm.write(f"{name} at step {step}: held-out NLL {nll['mean']:.3f} nats/token")
            manifest = {"name": f"{name} at step {step}", "command": command, "recipe": asdict(recipe), "step": step}
            manifest |= {"tokens": step * recipe.batch * recipe.length, "held_out_nll": nll, "stored_as": "bfloat16"}
            save(small, tokenizer, manifest, out / name / f"checkpoint-{step}")

        begins = refuse_passed(out / name, kept_steps)
        model, curve = train_one(
            *(name, text.train, recipe), device=device, scratch=scratch, compiled=compiled, keep=keep, begins=begins
        )
        stored = {"stored_as": "bfloat16"} if name in LARGER else {}
        if stored:
            model = model.to(torch.bfloat16).float()
        nll = summarise_nll(document_nll(model, text.held_out, device))
        tqdm.write(f"{name}: held-out NLL {nll['mean']:.3f} [{nll['low']:.3f}, {nll['high']:.3f}] nats/token")
        manifest = {
            "name": name,
            "command": command,
            "recipe": asdict(recipe),
            "tokens": recipe.steps * recipe.batch * recipe.length,
            "parameters": sum(p.numel() for p in model.parameters()),
            "held_out_nll": nll,
            "baseline_nll": text.baselines,
            "curve": curve,
            "seconds_of_last_run": round(time.monotonic() - started),
            "device": device,
            "torch": torch.__version__,
            **stored,
            "data": text.about,
        }
        save(model.to(torch.bfloat16) if stored else model, tokenizer, manifest, out / name)
