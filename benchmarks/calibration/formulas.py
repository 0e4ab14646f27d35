"""Figures of docs/deciding.md that follow from a formula."""

from __future__ import annotations

import math

from scipy import stats

from attnres_core.statistics.power import sparse_share, unseen_share
from attnres_core.statistics.recipe_rule import level

from .options import Options
from .tables import header, line


def formulas(_: Options) -> None:
    """Shares of prompts that a verdict cannot speak of, and what few seeds can decide."""
    alpha = Options.shipped_alpha
    header([f"alpha_i = {alpha:g}", ""])
    line("256 documents: effects of fewer may be wholly unseen", f"{unseen_share(alpha, 256):.1%}")
    line("256 documents: the level is not kept for effects of fewer", f"{sparse_share(256):.1%}")
    line("level of a recipe claim that all of 8 seeds must agree on", f"{level(8, 8, alpha):.4f}")
    for seeds in (5, 10):
        quantile = float(stats.t.isf(alpha, seeds - 1))
        line(f"{seeds} seeds: t quantile", f"{quantile:.2f}")
        line(f"{seeds} seeds: standard deviations that their mean must clear", f"{quantile / math.sqrt(seeds):.1f}")
    line("5 seeds: may all belong to so large a share of seeds", f"{unseen_share(alpha, 5):.0%}")
    line("5 seeds: all of them have what .6 of all seeds have", f"{0.6**5:.1%}")
