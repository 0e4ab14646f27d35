"""Columns of the reference checkpoints over held-out documents, measured once: they serve as super-populations."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attnres_core.quantities.ablations import drop
from attnres_core.quantities.intervention import NotApplicable
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Pick, Quantity
from attnres_core.quantities.summaries import mass
from attnres_core.quantities.vocabulary import Band, Family, Role, Sublayer
from attnres_core.shapes import Column
from benchmarks.control_variates import held_out

from .options import Options
from .tables import note

if TYPE_CHECKING:  # (torch is loaded where columns are measured)
    from attnres_core.models.model import AttnResModel

CHECKPOINTS = ("tiny-open-block", "tiny-kimi-block")
DOCUMENTS, SEED = 512, 5
FAMILIES = tuple(family for family in Family if family is not Family.NULL)  # that the reference checkpoints have
PLACES = tuple(itertools.product((Sublayer.ATTN, Sublayer.MLP), (Band.EARLY, Band.MID, Band.LATE, Band.ALL)))


def effect(family: Family | Pick, sublayer: Sublayer, band: Band, metric: Metric = Metric.DELTA_NLL) -> Quantity:
    """What dropping a family costs."""
    return drop(family, sublayer, band).on(Role.TRAINED, metric=metric)


def weight(family: Family | Pick, sublayer: Sublayer, band: Band) -> Quantity:
    """The mass that is put on a family."""
    return mass(family, sublayer, band).on(Role.TRAINED)


def measured(options: Options) -> dict[str, dict[str, Column]]:
    """Each checkpoint's columns by quantity, nats per token or depth weight, over the same held-out documents.

    They are measured once (about ten CPU minutes) on documents that no shipped claim is confirmed on.
    """
    if options.quick:
        return {name: _made_up(seed) for seed, name in enumerate(CHECKPOINTS)}
    return {name: _stored(name) for name in CHECKPOINTS}


def _stored(name: str) -> dict[str, Column]:
    import attnres_core as ac

    weights = (ac.reference(name) / "model.safetensors").read_bytes()
    file = Path(__file__).parents[2] / ".attnres" / f"calibration-{hashlib.sha256(weights).hexdigest()[:12]}.npz"
    if not file.is_file():
        found = _measured(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, names=list(map(str, found)), columns=np.stack(list(found.values()), axis=1))
    with np.load(file) as stored:
        return dict(zip(map(str, stored["names"]), stored["columns"].T, strict=True))


def _made_up(seed: int) -> dict[str, Column]:
    """Columns of every quantity that stand for no model."""
    rng, found = np.random.default_rng(seed), dict[str, Column]()
    common = rng.normal(size=128)
    for family, place in itertools.product(FAMILIES, PLACES):
        for quantity in (effect(family, *place), effect(family, *place, metric=Metric.KL), weight(family, *place)):
            found[str(quantity)] = np.exp(0.3 * (common + rng.normal(size=128)))
    return found


def _measured(name: str) -> dict[Quantity, Column]:
    import torch

    import attnres_core as ac

    torch.set_num_threads(1)
    model = ac.load_model(ac.reference(name))
    wanted = list[Quantity]()
    for family, place in itertools.product(FAMILIES, PLACES):
        if _applies(effect(family, *place), model):
            wanted += [effect(family, *place), effect(family, *place, metric=Metric.KL), weight(family, *place)]
    every = held_out(model.checkpoint.tokenizer_file)
    ids = [every[at] for at in np.random.default_rng(SEED).permutation(len(every))[:DOCUMENTS]]
    note(f"measuring {len(ids):,} documents of {name}: {len(wanted)} quantities")
    return {quantity: np.asarray(column) for quantity, column in ac.measure(model, ids, wanted).items()}


def _applies(quantity: Quantity, model: AttnResModel) -> bool:
    from attnres_core.planning.requests import resolved

    try:
        return not resolved(quantity, model.checkpoint).check().no_op
    except (NotApplicable, ValueError):
        return False


def columns_of(options: Options) -> tuple[list[str], NDArray[np.float64]]:
    """Names and columns `[document, column]` of every drop in a third of the layers, nats per token, each once."""
    found, thirds = dict[str, Column](), [place for place in PLACES if place[1] is not Band.ALL]
    columns = measured(options)
    for name, family, place in itertools.product(CHECKPOINTS, FAMILIES, thirds):
        column = columns[name].get(str(effect(family, *place)))
        if column is not None and np.ptp(column) > 1e-6:
            if not any(np.array_equal(column, other) for other in found.values()):
                found[f"{drop(family, *place)} on {name}"] = column
    return list(found), np.stack(list(found.values()), axis=1)
