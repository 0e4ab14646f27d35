"""Checkpoints whose modelling code is another package's: recognised, and read through an adapter where it is installed.

Kimi K3 and FLA (flash-linear-attention) both compute `kimi_block`'s routing, each in one function of its own, which is
what the adapter stands in for. Parameter names and signatures are those of their public code.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnres_core.models.errors import UnsupportedCheckpoint

if TYPE_CHECKING:
    from attnres_core.models.adapters.adapter import Asked


@dataclass(frozen=True, slots=True)
class Foreign:
    """Models that one package brings the code of."""

    name: str
    field: str
    """The field of config.json by which they are known: the block size, or the number of streams."""
    query: str
    """How the name of the read-out's pseudo-query ends in their checkpoints."""
    package: str
    """What must be importable; importing it teaches `transformers` their model types."""
    install: str
    """How to get it."""
    adapter: str
    """The name of the adapter that reads them."""
    queries: str = ""
    """A pattern of the names of the pseudo-queries that are read. Where there is one source, none is."""
    call: str = ""
    """The function that reads depth sources, in the package's modelling modules; empty: of hyper-connections."""
    describe: Callable[..., Asked] | None = None
    model_types: tuple[str, ...] = ()
    """Theirs alone; none: whatever has the field."""

    def missing(self) -> str | None:
        """Return why they cannot be read here; None: they can."""
        if importlib.util.find_spec(self.package) is None:
            return f"{self.name} models need the package `{self.package}`, which is not installed ({self.install})"
        return None


def kimi_k3_read(prefix_sum: Any, block_residual: Any, proj: Any, norm: Any) -> Asked:
    """Kimi K3's `_apply_attn_res`: blocks `[token, block, d]` and the running sum `[token, d]`."""
    from attnres_core.models.adapters.adapter import Asked

    query = proj.weight.reshape(-1).float() * norm.weight.float()
    return Asked([*block_residual.unbind(1), prefix_sum], query, norm.variance_epsilon, proj.weight)


def fla_read(
    query: Any,
    residuals: Any,
    rms_weight: Any,
    output_rms_weight: Any = None,
    rms_eps: float = 1e-6,
    scale: float = 1.0,
    **options: Any,
) -> Asked:
    """FLA's `fused_attnres`: a list of `[..., d]`, the running sum last; the norm that follows may be folded in."""
    from torch.nn.functional import rms_norm

    from attnres_core.models.adapters.adapter import Asked

    def normed(mixture: Any) -> Any:
        return rms_norm(mixture.float(), mixture.shape[-1:], output_rms_weight.float(), rms_eps).to(mixture.dtype)

    gained = query.reshape(-1).float() * rms_weight.reshape(-1).float() * scale
    return Asked(list(residuals), gained, rms_eps, query, finish=None if output_rms_weight is None else normed)


KIMI_K3 = Foreign(
    name="Kimi-K3-shaped",
    field="attn_res_block_size",
    query="output_attn_res_proj.weight",
    package="transformers.models.kimi_k3",
    adapter="kimi_k3",
    queries=r"output_attn_res_proj\.weight$|layers\.(?!0\.self_attention)\d+\.(self_attention|mlp)_res_proj\.weight$",
    install="a release of transformers that has it; code from the model hub is never run",
    call="_apply_attn_res",
    describe=kimi_k3_read,
)
FLA = Foreign(
    name="FLA",
    field="attnres_block_size",
    query="model.res_proj.weight",
    package="fla",
    adapter="fla",
    queries=r"(^|model\.)res_proj\.weight$|layers\.(?!0\.attn)\d+\.(attn|mlp)_res_proj\.weight$",
    install="pip install 'attnres-core[fla]'",
    call="fused_attnres",
    describe=fla_read,
)
HYPER_CONNECTIONS = Foreign(
    name="hyper-connection",
    field="model_type",
    query="",
    package="transformers",
    install="pip install 'transformers>=5.23'",
    adapter="hyper_connections",
    model_types=("deepseek_v4", "glm5_next", "hy_v4", "qwen4_exp", "qwen4_exp_text"),
)
FOREIGN = (KIMI_K3, FLA, HYPER_CONNECTIONS)


def foreign_kind(config: Mapping[str, Any], names: Mapping[str, Any]) -> Foreign | None:
    """The foreign models that a checkpoint's config and tensor names are of, if any."""
    text = config.get("text_config")
    fields = {**config, **(text if isinstance(text, dict) else {})}
    for kind in FOREIGN:
        if kind.model_types:
            if config.get("model_type") in kind.model_types:
                return kind
        elif fields.get(kind.field) is not None or any(name.endswith(kind.query) for name in names):
            return kind
    return None


class ForeignCheckpoint(UnsupportedCheckpoint):
    """A checkpoint of foreign models, which an adapter reads where their package is installed."""

    def __init__(self, folder: Path, kind: Foreign, beside: str = "") -> None:
        self.folder, self.kind, self.missing = folder, kind, kind.missing()
        read = "can be read by ac.adapt: help(attnres_core.adapt), docs/adapters.md."
        remedy = f"{self.missing}. A model that is loaded by other means {read}"
        super().__init__(folder, f"a {kind.name} checkpoint ({kind.field}{beside and f', {beside}'})", remedy)
