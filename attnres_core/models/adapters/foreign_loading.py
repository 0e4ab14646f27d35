"""A checkpoint loaded by its own package's classes, and seen through an adapter."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from attnres_core.models.adapters.adapter import RoutingCall, adapt
from attnres_core.models.adapters.foreign import Foreign
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.models.model import AttnResModel


def load_foreign(folder: Path, kind: Foreign, device: str, dtype: torch.dtype) -> AttnResModel:
    """A foreign checkpoint whose package is installed: safetensors into that package's classes, never remote code.

    Raises:
        UnsupportedCheckpoint: the package has no such model, tensors are missing or unexpected, or the package no
            longer has the function that is stood in for.
        AdapterError: that function no longer computes what it did.
    """
    importlib.import_module(kind.package)
    if (folder / "adapter_config.json").exists():
        raise UnsupportedCheckpoint(
            folder, "adapter_config.json, a model that others are to be loaded into", "Merge it."
        )
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        found = f"a {kind.name} checkpoint that `{kind.package}` cannot load ({' '.join(str(error).split())})"
        raise UnsupportedCheckpoint(folder, found, "Use the release of the package that saved it.") from error
    network, report = loaded
    if wrong := {name: sorted(map(str, keys)) for name, keys in report.items() if keys}:
        found = "; ".join(f"{name.replace('_', ' ')}: {', '.join(keys[:8])}" for name, keys in wrong.items())
        raise UnsupportedCheckpoint(folder, found, "config.json and the weights must describe one model.")
    modules = {type(module).__module__ for module in network.modules()}
    owners = [sys.modules[name] for name in sorted(modules) if hasattr(sys.modules[name], kind.call)]
    if not owners:
        found = f"no `{kind.call}` in {', '.join(sorted(modules))}"
        remedy = "Name the call that reads sources to ac.adapt yourself: help(attnres_core.adapt), docs/adapters.md."
        raise UnsupportedCheckpoint(folder, found, remedy)
    tokenizer, sizes = folder / "tokenizer.json", network.config.get_text_config()
    return adapt(
        network.to(device),
        *(RoutingCall(owner, kind.call, kind.describe) for owner in owners),
        vocabulary=sizes.vocab_size,
        context=sizes.max_position_embeddings,
        name=folder.name,
        dialect="kimi_block",
        tokenizer=tokenizer if tokenizer.exists() else None,
    )
