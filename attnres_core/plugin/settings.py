"""The `--attnres-*` options become the `Settings` of a suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from attnres_core.amounts import BYTES
from attnres_core.plugin.options import option, read_path, written_path
from attnres_core.registration.ledger import project_of
from attnres_core.shipped import reference_prompts, resolved
from attnres_core.suite.settings import Settings


def settings_of(config: pytest.Config, registrations: Path) -> Settings:
    """The run's settings; `registrations` is the folder of the claims' lock.

    Raises:
        pytest.UsageError: an option cannot be read.
        ValueError: a shipped checkpoint is misspelt, or the dtype is unknown.
    """
    dtype = option(config, "dtype")
    if dtype not in BYTES:
        raise ValueError(f"--attnres-dtype is {dtype!r}; allowed: {', '.join(BYTES)}")
    prompts, sets = read_path(config, "prompts"), read_path(config, "prompt-sets")
    return Settings(
        trained=resolved(str(read_path(config, "trained"))),
        vanilla=resolved(str(read_path(config, "vanilla"))),
        revision=option(config, "revision"),
        vanilla_revision=option(config, "vanilla-revision"),
        adapter=option(config, "adapter"),
        recency_bias=option(config, "recency-bias"),
        num_blocks=option(config, "num-blocks"),
        prompts=Path(prompts) if prompts else reference_prompts(),
        n_prompts=option(config, "n-prompts"),
        prompt_sets=Path(sets) if sets else None,
        root=config.rootpath if config.inipath else config.invocation_params.dir,
        device=getattr(config, "workerinput", {}).get("attnres_device") or option(config, "device"),
        device_map=option(config, "device-map"),
        dtype=dtype,
        executor=option(config, "executor"),
        ray_address=option(config, "ray-address"),
        store=written_path(config, "store"),
        memory=option(config, "memory"),
        quick=option(config, "quick"),
        sequential=option(config, "sequential"),
        registrations=registrations,
        shard=option(config, "shard"),
        roots=(project_of(config.rootpath if config.inipath else config.invocation_params.dir), registrations),
    )
