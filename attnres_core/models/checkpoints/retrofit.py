"""A retrofit's folder: a few tensors trained after the fact on a vanilla base, which is found by name and digest.

Its config.json names the base and says how it was wrapped; its safetensors hold routing parameters, or, for the
control, gains of norms. What it says is held against the base before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from attnres_core import shipped
from attnres_core.models.errors import UnsupportedCheckpoint

MODEL_TYPE = "attnres_retrofit"
OWN_FUNCTION = 20.0
"""The recency bias at which a wrapped model computes its own function: within a KL divergence of 2e-8 nats."""


class Part(StrEnum):
    """The part of a wrapped model that is trained."""

    ROUTING = "routing"
    """Pseudo-queries, key norms and recency biases: the result routes as `open_block` does."""
    GAINS = "gains"
    """The gains of the norms before sublayers, of queries and keys and the last: the control, its routing constant."""

    def holds(self, name: str) -> bool:
        """Return whether a tensor of the network, by our name, is of this part."""
        routing = "_res_" in name
        return routing if self is Part.ROUTING else name.endswith("norm.weight") and not routing


@dataclass(frozen=True, slots=True)
class Retrofit:
    """What a retrofit's config.json says."""

    base: str
    """A shipped or fetched name, a hub id, or a folder as seen from the retrofit's."""
    revision: str | None
    """The commit of a hub id."""
    base_weights: str
    """The base's `weights_digest`."""
    num_blocks: int
    recency_bias: float
    part: Part

    def fields(self) -> dict[str, Any]:
        """The fields of config.json."""
        return {
            "model_type": MODEL_TYPE,
            "base": self.base,
            "base_revision": self.revision,
            "base_weights": self.base_weights,
            "num_blocks": self.num_blocks,
            "recency_bias": self.recency_bias,
            "trained": self.part.value,
        }

    def place_of_base(self, folder: Path) -> str | Path:
        """Where the base of the retrofit in `folder` lies.

        Raises:
            UnsupportedCheckpoint: it is a name, and nothing of that name is here.
        """
        if self.base in shipped.checkpoints():
            return shipped.reference(self.base)
        try:
            if not Path(self.base).is_absolute() and (beside := folder / self.base).is_dir():
                return beside
        except OSError:  # (no name that a folder can have)
            pass
        if self.base.count("/") == 1 and not self.base.startswith((".", "/", "~")):
            return self.base  # of the hub
        get = f"`python -m attnres_core fetch {self.base}`" if self.base in shipped.FETCHABLE else "copy it beside this"
        raise UnsupportedCheckpoint(folder, f"a retrofit of {self.base!r}, which is not here", f"Get its base: {get}.")


def read_retrofit(folder: Path, config: Mapping[str, Any]) -> Retrofit:
    """What a retrofit's config says.

    Raises:
        UnsupportedCheckpoint: a field is missing, or not of its kind.
    """
    kinds: dict[str, type | tuple[type, ...]] = {
        "base": str,
        "base_weights": str,
        "num_blocks": int,
        "recency_bias": (int, float),
        "trained": str,
    }
    for field, kind in kinds.items():
        value = config.get(field)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UnsupportedCheckpoint(folder, f"a retrofit with {field} = {value!r}", "Correct config.json.")
    if config["trained"] not in tuple(Part):
        told = f"a retrofit that trained {config['trained']!r}; known are {', '.join(Part)}"
        raise UnsupportedCheckpoint(folder, told, "Correct config.json.")
    try:
        recency_bias = float(config["recency_bias"])
    except OverflowError:  # (a whole number of hundreds of digits)
        raise UnsupportedCheckpoint(
            folder, "a retrofit with a recency_bias beyond any float", "Correct config.json."
        ) from None
    revision = config.get("base_revision")
    return Retrofit(
        config["base"],
        None if revision is None else str(revision),
        config["base_weights"],
        config["num_blocks"],
        recency_bias,
        Part(config["trained"]),
    )
