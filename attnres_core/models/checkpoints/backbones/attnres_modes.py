"""The dialects of checkpoints that say `attnres_mode`: those of the public code for Qwen3, on any backbone."""

from __future__ import annotations

from collections.abc import Mapping

from attnres_core.models.checkpoints.backbones.backbone import Found
from attnres_core.models.dialects.block_v import BlockV
from attnres_core.models.dialects.delta import Delta
from attnres_core.models.dialects.delta_block import DeltaBlock
from attnres_core.models.dialects.delta_v import DeltaV
from attnres_core.models.dialects.kimi_block import KimiBlock
from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.models.dialects.open_full import OpenFull
from attnres_core.models.dialects.open_reset import OpenReset
from attnres_core.models.dialects.schedule import Dialect

DIALECTS: Mapping[tuple[bool, bool, str], type[Dialect]] = {
    (True, False, "block"): OpenBlock,
    (True, False, "full"): OpenFull,
    (True, True, "block"): OpenReset,
    (False, True, "block"): KimiBlock,
    (False, True, "block_v"): BlockV,
    (False, False, "delta"): Delta,
    (False, False, "delta_v"): DeltaV,
    (False, False, "delta_block"): DeltaBlock,
}
"""(has a recency bias, has a final read-out, attnres_mode) -> dialect."""


def routed(found: Found) -> Dialect:
    """The dialect that config and tensors agree on.

    Raises:
        UnsupportedCheckpoint: they contradict each other, or are of an unknown kind.
    """
    found.check_not_wrapped()
    config, layers = found.config, found.layers
    blocks = config.get("attnres_num_blocks")
    if not isinstance(blocks, int) or isinstance(blocks, bool) or blocks < 1:
        raise found.refused(f"config.json has attnres_num_blocks = {blocks!r}", "Give a positive whole number.")
    found.check_blocks(blocks, f"attnres_num_blocks {blocks} in config.json")
    gate = config.get("attnres_gate_type", "bias")
    if gate != "bias":
        raise found.refused(f"attnres_gate_type {gate!r}", "Only the gate type 'bias', which is no gate, is read.")
    routing = found.routing
    if not routing:
        told = f"model_type {config['model_type']!r} but no routing tensors (*_res_proj.weight)"
        raise found.refused(told, "Correct config.json or the weights.")
    features = (
        any(key.endswith("_res_bias") for key in routing),
        any(key.startswith("model.final_res_") for key in routing),
        str(config.get("attnres_mode")),
    )
    if features not in DIALECTS:
        bias, readout, mode = features
        told = (
            f"config.json says attnres_mode {mode!r}; the tensors have {'a' if bias else 'no'} recency bias "
            f"and {'a' if readout else 'no'} final read-out"
        )
        known = "; ".join(
            f"{d.name}: mode {m}, bias {'yes' if b else 'no'}, read-out {'yes' if r else 'no'}"
            for (b, r, m), d in DIALECTS.items()
        )
        raise found.refused(told, f"No dialect is like that ({known}).")
    kind = DIALECTS[features]
    if kind.has_blocks and blocks > layers:
        raise found.refused(f"attnres_num_blocks {blocks} for {layers} layers", "Correct config.json.")
    null = config.get("attnres_use_null_source")
    if not null:
        return kind(layers, blocks)
    if null is not True or not issubclass(kind, Delta):
        told = f"attnres_mode {features[2]!r}, attnres_use_null_source {null!r}"
        with_null = ", ".join(d.name for d in DIALECTS.values() if issubclass(d, Delta))
        raise found.refused(told, f"A null source (true) is read in {with_null}.")
    return kind(layers, blocks, null_source=True)
