"""The settings of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attnres_core.planning.shards import Shard


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run: the values of the `--attnres-*` options."""

    trained: str
    vanilla: str
    revision: str | None
    """The trained checkpoint's branch, tag or commit on the hub; None: its main branch, or a local folder."""
    vanilla_revision: str | None
    adapter: str | None
    """What reads the trained checkpoint, a name or `package.module:function`; None: the library, or its own package."""
    recency_bias: float
    num_blocks: int | None
    prompts: Path
    n_prompts: int | None
    prompt_sets: Path | None
    """A folder of prompt sets that claims name, before the shipped ones; None: there is none."""
    root: Path
    """What the paths of prompt sets that claims name are seen from."""
    device: str
    device_map: str | None
    """"balanced": every model is spread over all CUDA devices; None: it lies on one."""
    dtype: str
    executor: str
    """The executor that measures: a name of `engine.executors.EXECUTORS`."""
    ray_address: str | None
    """The address of the Ray cluster that measures; None: RAY_ADDRESS, or one started on this machine."""
    store: Path
    memory: int | None
    """Bytes that one measuring slot may use; None: what there is."""
    quick: bool
    sequential: bool
    """True if claims are looked at early; see `looks`."""
    registrations: Path
    """The folder of the claims' lock and ledger."""
    shard: Shard | None = None
    """The part of the plan that is measured, into a store that no other process writes to; None: all, and judged."""
    roots: tuple[Path, ...] = ()
    """The ledgers below these folders are pooled with it: the same prompts have one error budget."""
