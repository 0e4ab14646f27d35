"""What a checkpoint is, from its config and tensor headers alone: backbone, dialect, sites, digest. No torch.

Of a model that an adapter reads, it is what the adapter shows of it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from attnres_core.models.adapters.foreign import ForeignCheckpoint
from attnres_core.models.checkpoints.adapted import AdaptedCheckpoint, looked_at
from attnres_core.models.checkpoints.backbones.backbone import Backbone
from attnres_core.models.checkpoints.hub import Located, locate
from attnres_core.models.checkpoints.recognition import BACKBONES, recognise
from attnres_core.models.checkpoints.retrofit import MODEL_TYPE, Part, read_retrofit
from attnres_core.models.checkpoints.stored import KEPT_STEP, config_and_files, shapes_of
from attnres_core.models.checkpoints.stored import Checkpoint as Checkpoint
from attnres_core.models.checkpoints.stored import Weights as Weights
from attnres_core.models.checkpoints.stored import weights_digest as weights_digest
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.schedule import Dialect, sites_of
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.quantities.vocabulary import Site


@dataclass(frozen=True)
class NativeCheckpoint(Checkpoint):
    """A recognised checkpoint folder, of a backbone and a schedule that are computed here."""

    dialect: Dialect = field(kw_only=True)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every routing site, in forward order."""
        return sites_of(self.dialect)

    @property
    def dialect_name(self) -> str:
        """The dialect's name."""
        return self.dialect.name

    @property
    def backbone(self) -> Backbone:
        """What its layers compute."""
        return BACKBONES[self.config["model_type"]]

    @property
    def architecture(self) -> str:
        """`Llama backbone, open_block schedule`."""
        return f"{self.backbone.name} backbone, {self.dialect.name} schedule"

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""
        return self.dialect.num_layers

    @property
    def num_blocks(self) -> int:
        """The number of blocks."""
        return self.dialect.num_blocks

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The backbone's sizes, by the names of Qwen3's config."""
        return self.backbone.sizes(self.config)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides the function computed: weights, wrapping, block count."""
        parts: list[object] = [self.weights_digest, self.dialect.name, self.wrap, self.dialect.num_blocks]
        if self.weights is not Weights.STORED:  # an initialisation is whatever these versions make of the seed
            parts += [self.weights, *(importlib.metadata.version(name) for name in ("torch", "transformers"))]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class RetrofittedCheckpoint(NativeCheckpoint):
    """A retrofit with its base: the base's files, then its own, whose tensors take the place of the base's."""

    base: NativeCheckpoint = field(kw_only=True)

    @cached_property
    def tokenizer_file(self) -> Path:
        """The base's tokenizer.json."""
        return self.base.tokenizer_file


def inspect_checkpoint(
    path_or_repo_id: str | Path,
    wrap: float | None = None,
    num_blocks: int | None = None,
    revision: str | None = None,
    adapter: str | None = None,
) -> Checkpoint:
    """Recognise a local folder or hub id, or read it through an adapter.

    What another package has the code of is read by that package's adapter, where the package is installed.

    Args:
        path_or_repo_id: a `save_pretrained` folder, or `owner/name` on the model hub.
        wrap: a recency bias; reads a vanilla checkpoint as a wrapped baseline.
        num_blocks: the wrapped baseline's number of blocks.
        revision: a branch, tag or commit of a hub id; default: its main branch.
        adapter: what reads it, by name or as `package.module:function`; None: the library, or a package's own adapter.
            The model is then loaded once, on the CPU in float32, to be looked at.

    Raises:
        UnsupportedCheckpoint: it is missing, incomplete, contradicts itself or is of an unknown kind.
        AdapterError: the adapter is not there, fails, or describes another model.
    """
    folder, repository, commit = locate(path_or_repo_id, revision)
    config, files = config_and_files(folder)
    shapes = shapes_of(files)
    if config.get("model_type") == MODEL_TYPE and adapter is None:
        return _retrofitted(Located(folder, repository, commit), config, files, wrap, num_blocks)
    if adapter is None:
        try:
            dialect = recognise(folder, config, shapes, wrap, num_blocks)
        except ForeignCheckpoint as foreign:
            if foreign.missing:
                raise
            adapter = foreign.kind.adapter
        else:
            bias = None if wrap is None else float(wrap)
            return NativeCheckpoint(
                folder, config, shapes, files, bias, repository=repository, commit=commit, dialect=dialect
            )
    if wrap is not None or num_blocks is not None:
        told = "`wrap`" if wrap is not None else "`num_blocks`"
        remedy = "Leave it out: a model is wrapped, and its blocks counted, where the library computes it."
        raise UnsupportedCheckpoint(folder, f"a checkpoint that the adapter {adapter} reads, and {told}", remedy)
    outline, code, makes_untrained = looked_at(adapter, folder)
    return AdaptedCheckpoint(
        *(folder, config, shapes, files),
        repository=repository,
        commit=commit,
        adapter=adapter,
        outline=outline,
        code=code,
        makes_untrained=makes_untrained,
    )


def _retrofitted(
    located: Located, config: Mapping[str, Any], files: tuple[Path, ...], wrap: float | None, num_blocks: int | None
) -> RetrofittedCheckpoint:
    """A retrofit with its base.

    Raises:
        UnsupportedCheckpoint: the base is missing or another one, the retrofit's tensors are none of its, or the caller
            wants it wrapped otherwise.
    """
    folder, repository, commit = located
    own = read_retrofit(folder, config)
    routed = own.part is Part.ROUTING
    if wrap is not None and (routed or wrap != own.recency_bias):
        told = "routing of its own" if routed else f"the recency bias {own.recency_bias:g}"
        remedy = "Give its base to wrap." if routed else f"Give --attnres-recency-bias {own.recency_bias:g}."
        raise UnsupportedCheckpoint(folder, f"a retrofit with {told}, and `wrap` {wrap:g}", remedy)
    if num_blocks not in (None, own.num_blocks):
        told = f"a retrofit in {own.num_blocks} blocks, and `num_blocks` {num_blocks}"
        raise UnsupportedCheckpoint(folder, told, f"Give {own.num_blocks}, or leave it out.")
    place = own.place_of_base(folder)
    if config_and_files(locate(place, own.revision).folder)[0].get("model_type") == MODEL_TYPE:
        raise UnsupportedCheckpoint(
            folder, f"a retrofit of {own.base}, itself a retrofit", "Give its base as the base."
        )
    base = inspect_checkpoint(place, own.recency_bias, own.num_blocks, own.revision)
    if not isinstance(base, NativeCheckpoint) or base.weights_digest != own.base_weights:
        found = f"{base.folder} has {base.weights_digest[:12]}"
        told = f"a retrofit of {own.base} with the digest {own.base_weights[:12]}; {found}"
        raise UnsupportedCheckpoint(folder, told, "Get the base that it was trained on.")
    shapes, names = shapes_of(files), base.backbone.names(base.config)
    held = {name: shape for name, shape in base.shapes.items() if own.part.holds(names.ours(name))}  # (routing: none)
    wrong = {name for name in shapes if not own.part.holds(names.ours(name))}
    wrong |= {name for name, shape in held.items() if shapes.get(name) != shape}
    if wrong:
        told = f"a retrofit of {own.part} with other tensors ({', '.join(sorted(wrong)[:8])})"
        raise UnsupportedCheckpoint(folder, told, "Train it again.")
    about = {name: value for name, value in own.fields().items() if name not in ("base", "base_revision")}
    return RetrofittedCheckpoint(
        folder,
        {**base.config, MODEL_TYPE: about},
        {**base.shapes, **shapes},
        (*base.files, *files),
        wrap=None if routed else own.recency_bias,
        repository=repository,
        commit=commit,
        dialect=OpenBlock(base.num_layers, own.num_blocks) if routed else base.dialect,
        base=base,
    )


def kept_steps(checkpoint: Checkpoint) -> dict[int, Path]:
    """The earlier steps of a checkpoint's own training run: its folders `checkpoint-<step>`, in order."""
    folders = {int(match[1]): f for f in checkpoint.folder.iterdir() if (match := KEPT_STEP.fullmatch(f.name))}
    return {step: folders[step] for step in sorted(folders) if folders[step].is_dir()}


def earlier_step(checkpoint: Checkpoint, folder: Path) -> Checkpoint:
    """A kept step of a checkpoint's run, recognised.

    Raises:
        UnsupportedCheckpoint: it is damaged, or of another shape than the checkpoint.
    """
    earlier = inspect_checkpoint(folder, adapter=checkpoint.adapter or None)
    if _shape(earlier) != _shape(checkpoint):
        found = f"another architecture than {checkpoint.folder}, in whose folder it lies"
        raise UnsupportedCheckpoint(folder, found, "Keep only steps of the same run there.")
    return earlier


def _shape(checkpoint: Checkpoint) -> tuple[object, ...]:
    """What steps of one run share."""
    return checkpoint.dialect_name, checkpoint.num_blocks, checkpoint.sites, checkpoint.shapes
