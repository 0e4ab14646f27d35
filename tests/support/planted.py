"""A model built by hand so that what its claims must come out as is known before anything is measured.

Four layers of `kimi_block`, one layer a block; sixteen words. Axes: a word's one-hot WORD, two places for copies of it
(COPY, SPARE), the predicted word TARGET, TRASH that nothing depends on, and ONE. The next word is `FOLLOWS[word]`.

    1.mlp    copies words 8-15 from the embedding into block 2, on COPY
    2.mlp    copies words 8-15 from the embedding into block 3, on SPARE
    3.attn   reads the embedding above all, and its output is trash: mass without effect
    3.mlp    predicts words 0-7 from the embedding alone; words 8-15 from COPY (OLDER) or SPARE (RECENT), either will do
    4.final  reads what 3.mlp wrote (CURRENT)

Where block 3 holds a copy, 3.mlp puts all but a ten-millionth of its depth weight on it: what takes over when it is
dropped has next to no weight before it is renormalised. Every sublayer also moves a little trash, so no ablation
leaves every prompt exactly as it was.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from support.checkpoint_copies import write_tokenizer

WORDS, LAYERS = 16, 4
WORD, COPY, SPARE, TARGET, TRASH = (slice(16 * place, 16 * place + 16) for place in range(5))
ONE, WIDTH = 80, 81
FOLLOWS = np.random.default_rng(7).permutation(WORDS)
LATER = range(8, 16)
"""The words that are copied."""


def write_planted(folder: Path) -> Path:
    """Write the checkpoint and its tokenizer."""
    rng = np.random.default_rng(8)
    embedding, head = np.zeros((WORDS, WIDTH)), np.zeros((WORDS, WIDTH))
    embedding[:, WORD], embedding[:, ONE] = np.eye(WORDS), 1
    head[:, TARGET] = 0.5 * np.eye(WORDS)
    tensors = {"model.embed_tokens.weight": embedding, "lm_head.weight": head, "model.norm.weight": np.ones(WIDTH)}
    queries = {
        f"model.layers.{layer}.{sublayer}": np.zeros(WIDTH) for layer in range(4) for sublayer in ("attn", "mlp")
    }
    queries["model.layers.3.attn"][ONE] = 0.6
    queries["model.layers.3.mlp"][SPARE] = 1.8
    queries["model.final"] = np.zeros(WIDTH)
    queries["model.final"][TARGET] = 2.0
    for place, query in queries.items():
        tensors |= {f"{place}_res_proj.weight": query[None], f"{place}_res_norm.weight": np.ones(WIDTH)}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}"
        reads, writes = _mlp(layer, rng)
        value = np.zeros((16, WIDTH))
        value[:] = 0.001 * rng.normal(size=value.shape)
        tensors |= {
            f"{name}.self_attn.q_proj.weight": np.zeros((16, WIDTH)),
            f"{name}.self_attn.k_proj.weight": np.zeros((16, WIDTH)),
            f"{name}.self_attn.v_proj.weight": value,
            f"{name}.self_attn.o_proj.weight": np.eye(WIDTH)[:, TRASH],
            f"{name}.self_attn.q_norm.weight": np.ones(16),
            f"{name}.self_attn.k_norm.weight": np.ones(16),
            f"{name}.mlp.gate_proj.weight": 40 * reads,
            f"{name}.mlp.up_proj.weight": reads,
            f"{name}.mlp.down_proj.weight": writes,
            f"{name}.input_layernorm.weight": np.ones(WIDTH),
            f"{name}.post_attention_layernorm.weight": np.ones(WIDTH),
        }
    sizes = {"hidden_size": WIDTH, "intermediate_size": 32, "head_dim": 16, "vocab_size": WORDS}
    sizes |= {"num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": LAYERS}
    config = {"model_type": "qwen3_attnres", **sizes, "max_position_embeddings": 64, "rms_norm_eps": 1e-6}
    config |= {"attnres_mode": "block", "attnres_num_blocks": LAYERS, "tie_word_embeddings": False}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    as_tensors = {key: torch.tensor(array, dtype=torch.float32) for key, array in tensors.items()}
    save_file(as_tensors, folder / "model.safetensors")
    write_tokenizer(folder, WORDS)
    return folder


def _mlp(layer: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What a layer's neurons read (neuron, axis) and write (axis, neuron): y = silu(40 x) x; 16 signals, 16 trash."""
    reads, writes = np.zeros((32, WIDTH)), np.zeros((WIDTH, 32))
    for word in range(WORDS):
        if layer in (1, 2) and word in LATER:
            reads[word, WORD.start + word] = 1
            target, amplitude = (COPY, 1 / 40) if layer == 1 else (SPARE, 20)
            writes[target.start + word, word] = amplitude
        if layer == 3:
            sources = (COPY, SPARE) if word in LATER else (WORD,)
            for source in sources:
                reads[word, source.start + word] = 1
            writes[TARGET.start + FOLLOWS[word], word] = 1
    reads[16:, TRASH] = 0.005 * rng.normal(size=(16, 16))
    reads[16:, WORD] = 0.01 * rng.normal(size=(16, 16))
    writes[TRASH, 16:] = 0.01 * rng.normal(size=(16, 16))
    if layer == 3:
        writes[TARGET, 16:] = 1e-4 * rng.normal(size=(16, 16))
    return reads, writes


def write_prompts(file: Path, exploration: int = 64, confirmation: int = 256) -> Path:
    """Prompts of words of which a share, each prompt's own, is followed by another word than the model predicts."""
    rng, texts = np.random.default_rng(9), dict[str, None]()  # (a file that holds a prompt twice is refused)
    while len(texts) < exploration + confirmation:
        words, surprise = [int(rng.integers(WORDS))], rng.uniform(0, 0.3)
        for _ in range(rng.integers(16, 32)):
            free = rng.random() < surprise
            # A free choice of half the words keeps both halves in play whatever the cycles of FOLLOWS.
            words.append(int(rng.integers(WORDS)) if free else int(FOLLOWS[words[-1]]))
        texts[" ".join(f"w{word}" for word in words)] = None
    with file.open("w") as stream:
        for index, text in enumerate(texts):
            split = "exploration" if index < exploration else "confirmation"
            stream.write(json.dumps({"id": f"p{index}", "text": text, "split": split}) + "\n")
    return file
