"""How far the reads of an ablated run lie from those of clean runs: beside an effect, never a part of its verdict.

What follows a read normalises it, so that its direction counts. A read's distance is to the nearest clean read of
another prompt of its chunk, at the same site. An ablated read is *beyond* where it is farther than 99 % of the chunk's
clean reads are: of the clean run itself 1 % is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from attnres_core.engine.scoring import Batch
from attnres_core.models.networks.routing import Read, Source
from attnres_core.quantities.vocabulary import SiteKey
from attnres_core.shapes import Float

CLEAN = 0.99
"""The share of clean reads that is not beyond."""


@dataclass(slots=True)
class CleanReads:
    """The clean reads of a chunk of prompts at its scored positions, by site."""

    batch: Batch
    directions: dict[SiteKey, Tensor] = field(default_factory=dict)
    """`[read, d]`, each of length one."""
    farthest: dict[SiteKey, Tensor] = field(default_factory=dict)
    """The distance within which the clean share of clean reads lies."""

    def __call__(self, key: SiteKey, sources: list[Source], read: Read) -> None:
        """Keep a site's reads."""
        self.directions[key] = self._directed(read.mixture)

    def beyond(self, key: SiteKey, mixture: Float[Tensor, "prompt pos d"]) -> Float[Tensor, "prompt pos"]:
        """1 where a read is beyond, 0 elsewhere; NaN where there is no other prompt."""
        if key not in self.farthest:
            self.farthest[key] = self._distances(key, self.directions[key]).quantile(CLEAN)
        found = torch.full(self.batch.scored.shape, torch.nan, device=self.batch.ids.device)
        if len(self.batch.ids) > 1:
            far = self._distances(key, self._directed(mixture)) > self.farthest[key]
            found[self.batch.scored] = far.float().to(found.device)
        return found.where(self.batch.scored, 0)

    def _directed(self, mixture: Tensor) -> Tensor:
        return functional.normalize(mixture[self.batch.scored.to(mixture.device)].float(), dim=-1)

    def _distances(self, key: SiteKey, directions: Tensor) -> Tensor:
        """1 - cosine to the nearest clean read of another prompt, `[read]`."""
        clean = self.directions[key]
        prompt = torch.nonzero(self.batch.scored)[:, 0].to(clean.device)
        alike = directions.to(clean.device) @ clean.T
        return 1 - alike.masked_fill(prompt[:, None] == prompt, -torch.inf).amax(1)
