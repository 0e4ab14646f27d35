"""The whole map of a checkpoint: every family at every site, its mass and the effect of dropping it there alone."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from attnres_core.engine.executors import open_executor
from attnres_core.engine.measurements import Measurements
from attnres_core.engine.resources import Resources
from attnres_core.engine.store import Store
from attnres_core.files import atomic, writing
from attnres_core.models.checkpoints.checkpoint import Checkpoint
from attnres_core.planning.bundles import make_bundles
from attnres_core.planning.material import Material, fitting_of, reference_of
from attnres_core.prompts import PromptSet, Split, check_tokens
from attnres_core.quantities.ablations import drop
from attnres_core.quantities.intervention import cells
from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Quantity, RoutingSummary
from attnres_core.quantities.summaries import mass, turn, uniform_mass
from attnres_core.quantities.vocabulary import AnyRole, Band, Family, Role, Site, Sublayer
from attnres_core.statistics.intervals import t_interval

FIELDS = (
    *("site", "layer", "sublayer", "family", "mass", "uniform_mass", "delta_nll", "delta_nll_low", "delta_nll_high"),
    *("kl", "kept_mass", "input_change", "beyond", "duplicate", "n", "split"),
)
"""The columns of a map: weights are mean depth weights, effects nats per token with 95 % t intervals.

`beyond` is the share of the ablated reads that lie farther from clean ones than 99 % of these do.
"""


def cell_quantity(site: Site, family: Family, role: AnyRole, metric: Metric = Metric.DELTA_NLL) -> Quantity:
    """The effect of dropping a family at one site."""
    layers = Band.ALL if site.sublayer is Sublayer.FINAL else range(site.layer, site.layer + 1)
    return drop(family, site.sublayer, layers).on(role, metric=metric)


def _cell_turn(site: Site, family: Family) -> RoutingSummary:
    """Return how far the read of one site turns without a family."""
    return turn(family, site.sublayer, cell_quantity(site, family, Role.TRAINED).what.layers)


def map_quantities(checkpoint: Checkpoint, role: AnyRole, metric: Metric = Metric.DELTA_NLL) -> list[Quantity]:
    """The effects that the map of a checkpoint is made of, in a metric."""
    return [cell_quantity(site, family, role, metric) for site, family in cells(checkpoint.sites)]


def map_rows(measurements: Measurements, role: AnyRole, split: Split) -> list[dict[str, Any]]:
    """The map, one row (of FIELDS) a cell; means over documents. Where only masses were measured, effects are None."""

    def average(quantity: Quantity) -> float:
        return float(measurements.column(quantity, split).mean())

    checkpoint, whole = measurements.material.checkpoint(role), measurements.whole(role, split)
    rows = []
    for site, family in cells(checkpoint.sites):
        effect = cell_quantity(site, family, role)
        where = (family, site.sublayer, effect.what.layers)
        row = dict.fromkeys(FIELDS) | {
            **{"site": str(site), "layer": site.layer, "sublayer": site.sublayer.value, "family": family.value},
            **{"mass": average(mass(*where).on(role)), "uniform_mass": average(uniform_mass(*where).on(role))},
            **{"n": len(measurements.material.prompts[split].documents), "split": split.value},
        }
        if measurements.material.resolved(effect).check().keys <= whole:
            record = measurements.record(effect, split)
            low, mean, high = t_interval(measurements.column(effect, split))
            row |= {"delta_nll": mean, "delta_nll_low": low, "delta_nll_high": high}
            row |= {"kl": average(cell_quantity(site, family, role, Metric.KL)), "kept_mass": record.kept_mass}
            beyond = None if math.isnan(record.beyond) else record.beyond
            row |= {"input_change": record.input_change, "beyond": beyond, "duplicate": bool(record.duplicates)}
        rows.append(row)
    return rows


def make_map(
    checkpoint: Checkpoint,
    prompts: PromptSet,
    split: Split,
    resources: Resources,
    store: Store,
    limit: int | None = None,
    executor: str = "local",
) -> list[dict[str, Any]]:
    """Measure what the store lacks of a checkpoint's map, with a progress bar; its rows, with each read's `turn`.

    Stopped and started again, it goes on where it was; a suite's run over the same prompts finds the columns there.

    Raises:
        ValueError: prompts that the model cannot read, or a bundle that could not be measured.
    """
    part = prompts.part(split, limit)
    if not len(part):
        raise ValueError(f"{prompts.name}: no prompt belongs to the {split} split")
    ids = part.token_ids(checkpoint.tokenizer_file)
    check_tokens(ids, [repr(p.id) for p in part.prompts], checkpoint.vocabulary, checkpoint.context)
    given = (resources.device_class, resources.dtype, reference_of(prompts), fitting_of(prompts))
    material = Material({Role.TRAINED: checkpoint}, (), {split: part}, *given)
    effects = [q for metric in (Metric.DELTA_NLL, Metric.KL) for q in map_quantities(checkpoint, Role.TRAINED, metric)]
    turns = [_cell_turn(*cell).on(Role.TRAINED) for cell in cells(checkpoint.sites)]
    bundles = make_bundles([*effects, *turns], split, material)
    with open_executor(executor, material.checkpoints, store, uuid.uuid4().hex, resources) as measuring:
        # (disable=None: silent without a terminal)
        with tqdm(total=len(bundles), desc="measuring", unit="bundle", disable=None) as bar:
            failed = measuring.carry_out(bundles, lambda settled: bar.update(settled - bar.n))
    for why in failed.values():
        raise ValueError(why)
    found = Measurements(store, material)
    rows = map_rows(found, Role.TRAINED, split)
    return [row | {"turn": float(found.column(q, split).mean())} for row, q in zip(rows, turns, strict=True)]


def agreement(rows: Sequence[Mapping[str, Any]], predictor: str) -> float:
    """Spearman's rank correlation of a column of the map and the exact effects, over the cells."""
    from scipy import stats  # slow to import, and only `map` asks

    exact, told = ([row[name] for row in rows] for name in ("delta_nll", predictor))
    return float(stats.spearmanr(exact, told).statistic)


def check_name(file: Path) -> None:
    """Refuse a file that is no map's, before anything is measured."""
    if file.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{file}: a map is written as .csv or .parquet")


def write_map(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write rows as CSV or, by the file's name, Parquet; the old file stays if that fails.

    Raises:
        ValueError: the name ends in neither, Parquet's library is not installed, or it cannot be written.
    """
    import pandas

    check_name(file)
    table = pandas.DataFrame(list(rows))
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file) as temporary:
            if file.suffix == ".csv":
                table.to_csv(temporary, index=False)
            else:
                try:
                    table.to_parquet(temporary, index=False)
                except ImportError:
                    raise ValueError(f"{file}: Parquet needs pyarrow: pip install pyarrow") from None
