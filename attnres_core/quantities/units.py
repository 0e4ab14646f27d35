"""The unit that a quantity is measured in, in words."""

from __future__ import annotations

from typing import Any

from attnres_core.quantities.metrics import Metric
from attnres_core.quantities.quantity import Association, Prediction, Quantity, Relation, RoutingSummary
from attnres_core.quantities.vocabulary import Statistic


def unit_of(quantity: Any) -> str:
    """Return a quantity's unit; of what is no quantity, that of a rise in loss."""
    if not isinstance(quantity, Quantity):
        return Metric.DELTA_NLL.spec.unit
    if isinstance(quantity.what, RoutingSummary):
        return quantity.what.kind.spec.unit
    if isinstance(quantity.what, Relation) and quantity.what.kind is not Statistic.SLOPE:
        return "correlation"
    if isinstance(quantity.what, Prediction):
        return f"{Metric.DELTA_NLL.spec.unit} per {quantity.what.summary.kind.spec.unit}"
    assert quantity.metric is not None, "an effect has a metric"
    if isinstance(quantity.what, Association):
        return f"{quantity.metric.spec.unit} per {quantity.what.by}"
    return quantity.metric.spec.unit
