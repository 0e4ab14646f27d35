"""The facts of a model beside its weights, whether it came from a recognised checkpoint or through an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from attnres_core.quantities.vocabulary import Site


class Geometry(Protocol):
    """The sites that requests are resolved on. A `Checkpoint` is one."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every routing site, in forward order."""

    @property
    def num_layers(self) -> int:
        """The number of decoder layers."""

    @property
    def wrap(self) -> float | None:
        """The recency bias of a wrapped vanilla model."""


class Described(Geometry, Protocol):
    """A loaded model's description of itself."""

    @property
    def name(self) -> str:
        """Return its name."""

    @property
    def dialect_name(self) -> str:
        """The meaning of its routing."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the function computed; empty where that is not known."""

    @property
    def context(self) -> int:
        """The longest prompt, in tokens."""

    @property
    def tokenizer_file(self) -> Path:
        """Its tokenizer.json."""


@dataclass(frozen=True)
class Outline:
    """A model that was given as a torch module, not read from a checkpoint."""

    name: str
    dialect_name: str
    sites: tuple[Site, ...]
    num_layers: int
    context: int
    tokenizer: Path | None = None
    wrap: float | None = None
    digest: str = ""
    width: int = 0
    """The width of a state."""
    working: int = 0
    """Numbers that a token of a batch takes while the model runs, measured when it was adapted."""
    num_blocks: int = 0
    """The most sources of a site, less the current state."""
    vocabulary: int = 0
    """How many tokens there are."""
    last_width: int = 0
    """The width of what a run gives: of the state before the head, or the vocabulary where there is none apart."""

    @property
    def tokenizer_file(self) -> Path:
        """Its tokenizer.json.

        Raises:
            ValueError: none was given.
        """
        if self.tokenizer is None:
            raise ValueError(f"`{self.name}` has no tokenizer; give adapt(..., tokenizer=FILE), or lists of token ids")
        return self.tokenizer
