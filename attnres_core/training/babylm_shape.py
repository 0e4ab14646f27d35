"""The stand-in for the published BabyLM models: their shape in small, written as their files are.

github.com/YpLarryWang/attnres4babylm2026: a nanoGPT with RMSNorm, SwiGLU, rotary positions and a gate on attention's
output, 16 layers in 8 blocks of 4 sublayers. Theirs is 512 wide and this one 64; the vocabulary is the corpus's own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from attnres_core.models.checkpoints.backbones.nanogpt import NANOGPT
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.networks.nanogpt import NanoGPTForCausalLM, nanogpt_config

_EPS, _THETA = 1e-5, 10000.0


WIDTH, LAYERS = 64, 16


def config(vocabulary: int) -> dict[str, Any]:
    """The fields of config.json, those of the published models."""
    return {
        "architectures": ["NanoGPTForCausalLM"],
        "model_type": "nanogpt",
        "vocab_size": vocabulary,
        "n_embd": WIDTH,
        "n_head": 4,
        "n_layer": LAYERS,
        "block_size": 512,
        "attn_res_block_size": 4,
        "use_attn_res": True,
        "use_static_attn_res": False,
        "use_attn_gate": True,
        "use_rmsnorm": True,
        "use_swiglu": True,
        "use_rope": True,
        "bias": False,
        "bidirectional": False,
        "dropout": 0.0,
        "swiglu_mult": 8 / 3,
        "layer_norm_epsilon": _EPS,
        "rope_theta": _THETA,
        "eos_token_id": 0,
        "torch_dtype": "float32",
    }


def build(fields: dict[str, Any], seed: int) -> NanoGPTForCausalLM:
    """A model of this config at its seeded initialisation, pseudo-queries zero."""
    torch.manual_seed(seed)
    depth, sublayers = fields["n_layer"], fields["attn_res_block_size"]
    sizes = {**NANOGPT.sizes(fields), "num_hidden_layers": depth}
    shape = nanogpt_config(sizes, eps=_EPS, theta=_THETA, gate=fields["use_attn_gate"])
    model = NanoGPTForCausalLM(shape, KimiBlock(depth, 2 * depth // sublayers, block_layers=sublayers // 2))
    for name, parameter in model.named_parameters():
        if name.endswith("_res_proj.weight"):
            nn.init.zeros_(parameter)
    return model


def write(model: NanoGPTForCausalLM, folder: Path) -> None:
    """Config and weights under the published models' names; the tied head is left out, as there."""
    fields, tensors = config(model.vocabulary), model.state_dict()
    del tensors["lm_head.weight"]
    names = NANOGPT.names(fields)
    stored = {
        names.theirs(name): tensor[0].clone() if name.endswith("_res_proj.weight") else tensor.contiguous()
        for name, tensor in tensors.items()
    }
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n")
