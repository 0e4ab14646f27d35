"""`inkling2` language models of `transformers`: block sums, with three pseudo-queries before full attention."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from attnres_core.models.checkpoints.backbones.backbone import Backbone, Found, given
from attnres_core.models.dialects.inkling2 import Inkling2
from attnres_core.models.dialects.schedule import Dialect

_DEFAULTS = {
    "vocab_size": 201024,
    "unpadded_vocab_size": 200058,
    "hidden_size": 4608,
    "num_attention_heads": 48,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "swa_num_attention_heads": 48,
    "swa_num_key_value_heads": 8,
    "swa_head_dim": 128,
    "moe_intermediate_size": 2304,
    "n_routed_experts": 384,
    "num_experts_per_tok": 8,
    "n_layers_per_attn_res_block": 6,
    "max_position_embeddings": 1048576,
}
_FULL, _SLIDING = "hybrid", "hybrid_sliding"


def _dialect(found: Found) -> Dialect:
    found.check_not_wrapped()
    layers, sizes = found.layers, given(found.config, _DEFAULTS)
    size = sizes["n_layers_per_attn_res_block"]
    blocks = math.ceil(layers / size)
    found.check_blocks(blocks, f"n_layers_per_attn_res_block {size} in config.json, so {blocks} blocks")
    # (where the config is silent, as transformers has it: every sixth layer has full attention)
    kinds = found.config.get("layer_types") or [_SLIDING if (layer + 1) % 6 else _FULL for layer in range(layers)]
    if unknown := sorted({str(kind) for kind in kinds} - {_FULL, _SLIDING}):
        remedy = f"Layers of an inkling2 model are {_FULL} or {_SLIDING}."
        raise found.refused(f"layer types {', '.join(unknown)}", remedy)
    full = tuple(layer for layer, kind in enumerate(kinds) if kind == _FULL)
    for names, shape in _queries(layers, full, sizes["hidden_size"]):
        stored = {name: found.shapes[name] for name in names if name in found.shapes}
        if list(stored.values()) != [shape]:
            raise found.refused(
                f"{stored or 'no ' + names[0]}, where config.json implies {shape}",
                "Save the model with transformers' save_pretrained; correct config.json.",
            )
    return Inkling2(layers, blocks, block_layers=size, full_attention=full)


def _queries(layers: int, full: Collection[int], width: int) -> Iterator[tuple[tuple[str, str], tuple[int, ...]]]:
    """Every pseudo-query's name in `transformers` and in the files that it saves, with its shape."""
    saved = "model.llm.attn_res"
    yield ("model.final_input.query", f"{saved}.output_query"), (width,)
    for layer in range(layers):
        yield (f"model.layers.{layer}.mlp_input.query", f"{saved}.mlp_queries.{layer}"), (width,)
        if layer:  # (layer 0 reads the embedding alone)
            names = (f"model.layers.{layer}.attention_input.query", f"{saved}.attn_queries.{layer - 1}")
            yield names, (3, width) if layer in full else (width,)


INKLING2 = Backbone("inkling2", _dialect, tuple(_DEFAULTS), lambda config: given(config, _DEFAULTS))
