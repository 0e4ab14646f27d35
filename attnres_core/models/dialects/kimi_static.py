"""`kimi_static`: like `kimi_block`, with learned logits in the place of pseudo-queries (nanoGPT's static arm)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnres_core.models.dialects.kimi_block import KimiBlock


@dataclass(frozen=True)
class KimiStatic(KimiBlock):
    """A site has a vector of logits, the same for every token; with n sources it takes the softmax of the first n.

    Entry 0 is the embedding's; the current state's is entry n - 1, another one at another depth.
    """

    name: ClassVar[str] = "kimi_static"
    has_logits: ClassVar[bool] = True
