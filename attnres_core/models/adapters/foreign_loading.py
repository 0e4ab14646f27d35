"""A checkpoint loaded by its own package's classes, and seen through an adapter."""

from __future__ import annotations

import contextlib
import importlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from attnres_core.models.adapters import fla_on_cpu
from attnres_core.models.adapters.adapter import RoutingCall, adapt
from attnres_core.models.adapters.foreign import FLA, HYPER_CONNECTIONS, KIMI_K3, Foreign
from attnres_core.models.adapters.hyper_connections import calls_of
from attnres_core.models.adapters.named import modules_calling
from attnres_core.models.adapters.streams import StreamCall
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.models.model import AttnResModel

CONTEXT = 2048
"""The longest prompt, in tokens, of a model whose config names none."""


def fla(folder: Path, *, device: str, dtype: torch.dtype, untrained: bool = False) -> AttnResModel:
    """The adapter of FLA's models; on a CPU, in Triton's interpreter."""
    return load_foreign(folder, FLA, device, dtype, untrained=untrained)


def kimi_k3(folder: Path, *, device: str, dtype: torch.dtype, untrained: bool = False) -> AttnResModel:
    """The adapter of Kimi K3's models."""
    return load_foreign(folder, KIMI_K3, device, dtype, untrained=untrained)


def hyper_connections(folder: Path, *, device: str, dtype: torch.dtype, untrained: bool = False) -> AttnResModel:
    """The adapter of the models of `transformers` with hyper-connections."""
    return load_foreign(folder, HYPER_CONNECTIONS, device, dtype, untrained=untrained)


def load_foreign(
    folder: Path, kind: Foreign, device: str, dtype: torch.dtype, *, untrained: bool = False
) -> AttnResModel:
    """A foreign checkpoint whose package is installed: safetensors into that package's classes, never remote code.

    Raises:
        UnsupportedCheckpoint: the package cannot be used here or has no such model, tensors are missing or unexpected,
            or the package no longer has the function that is stood in for.
        AdapterError: that function no longer computes what it did, or is not called at a site.
    """
    if reason := kind.missing():
        raise UnsupportedCheckpoint(folder, f"a {kind.name} checkpoint", f"{reason}.")
    if (folder / "adapter_config.json").exists():
        raise UnsupportedCheckpoint(
            folder, "adapter_config.json, a model that others are to be loaded into", "Merge it."
        )
    try:
        if kind is FLA:
            fla_on_cpu.prepare()
        importlib.import_module(kind.package)
        with _quietly():
            network = _made(folder, dtype) if untrained else _loaded(folder, dtype)
    except (ImportError, fla_on_cpu.CannotInterpret) as error:
        found = f"a {kind.name} checkpoint, and `{kind.package}` cannot be used here ({error})"
        raise UnsupportedCheckpoint(folder, found, f"Install what it needs: {kind.install}.") from error
    except UnsupportedCheckpoint:
        raise
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        found = f"a {kind.name} checkpoint that `{kind.package}` cannot load ({' '.join(str(error).split())})"
        raise UnsupportedCheckpoint(folder, found, "Use the release of the package that saved it.") from error
    calls = _calls(network, kind)
    if not calls:
        found = f"no `{kind.call}` in the modules of {type(network).__name__}"
        remedy = "Name the call that reads sources to ac.adapt yourself: help(attnres_core.adapt), docs/adapters.md."
        raise UnsupportedCheckpoint(folder, found, remedy)
    tokenizer, sizes = folder / "tokenizer.json", network.config.get_text_config()
    return adapt(
        network.to(device),
        *calls,
        vocabulary=sizes.vocab_size,
        context=getattr(sizes, "max_position_embeddings", None) or CONTEXT,
        name=folder.name,
        dialect="kimi_block" if kind.describe else kind.adapter,
        tokenizer=tokenizer if tokenizer.exists() else None,
        queries=(lambda name: re.search(kind.queries, name) is not None) if kind.queries else None,
    )


def _calls(network: Any, kind: Foreign) -> Sequence[RoutingCall | StreamCall]:
    """The calls of a model that read depth sources, or streams."""
    if kind.describe is None:
        return calls_of(network.config.model_type)
    return [RoutingCall(owner, kind.call, kind.describe) for owner in modules_calling(network, kind.call)]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """No progress bar, and no warning of a release of transformers that a package does not know yet."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _made(folder: Path, dtype: torch.dtype) -> Any:
    """The architecture, at its initialisation."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    return AutoModelForCausalLM.from_config(config, trust_remote_code=False, dtype=dtype)


def _loaded(folder: Path, dtype: torch.dtype) -> Any:
    """The model with its stored weights.

    Raises:
        UnsupportedCheckpoint: tensors are missing or unexpected.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    network, report = loaded
    if wrong := {name: sorted(map(str, keys)) for name, keys in report.items() if keys}:
        found = "; ".join(f"{name.replace('_', ' ')}: {', '.join(keys[:8])}" for name, keys in wrong.items())
        raise UnsupportedCheckpoint(folder, found, "config.json and the weights must describe one model.")
    return network
