"""An adapter: FLA's GLA on a CPU, with torch's formulas in the place of what Triton's interpreter does slowly.

    pytest hypotheses/ --attnres-trained FOLDER --attnres-adapter gla_in_torch:load

The library's own adapter, `fla`, runs every kernel as it is. Here the recurrence is the package's own reference, and
the norm and the activations are torch's: a hundred times faster, and equal to 1e-5 (tests/models/test_fla.py).
"""

from itertools import pairwise
from unittest.mock import patch

import torch
from torch.nn import functional

from attnres_core.models.adapters import fla_on_cpu, foreign_loading

PATCHES = []


def load(folder, *, device, dtype, untrained=False):
    """The model of a GLA checkpoint."""
    fla_on_cpu.prepare()
    if not PATCHES:
        PATCHES.extend(
            [
                patch("fla.layers.gla.fused_recurrent_gla", recurrence),
                patch("fla.layers.gla.chunk_gla", recurrence),
                patch.dict("fla.layers.gla.ACT2FN", {"swish": functional.silu}),
                patch("fla.modules.mlp.swiglu", lambda gate, up: functional.silu(gate) * up),
                patch("fla.modules.RMSNorm.forward", rms_norm),
            ]
        )
        for each in PATCHES:
            each.start()
    return foreign_loading.fla(folder, device=device, dtype=dtype, untrained=untrained)


def restore():
    """Give the package its kernels back."""
    while PATCHES:
        PATCHES.pop().stop()


def recurrence(q, k, v, gk=None, g=None, cu_seqlens=None, **options):
    """The package's reference, `[batch, pos, head, d]`; of padded rows, document by document, `[1, token, head, d]`."""
    from fla.ops.gla.naive import naive_recurrent_gla

    states = [q, k, v, g if gk is None else gk]
    if cu_seqlens is None:
        return naive_recurrent_gla(*states)
    parts = [naive_recurrent_gla(*(each[:, i:j] for each in states))[0] for i, j in pairwise(cu_seqlens.tolist())]
    return torch.cat(parts, 1), None


def rms_norm(module, x, residual=None, prenorm=False, residual_in_fp32=False):
    """`fla.modules.RMSNorm` without a residual, which GLA's output norm does not have."""
    assert residual is None
    assert not prenorm
    return functional.rms_norm(x.float(), x.shape[-1:], module.weight.float(), module.eps).to(x.dtype)
