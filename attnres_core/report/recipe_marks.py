"""Marks of claims about a recipe that its seeds speak for or against, when 5 % of such findings may be wrong.

Student's t over the seeds gives each claim two p-values: that it does not hold, and that its negation does not. All of
them are adjusted together by Benjamini and Yekutieli, who bound the expected share of false findings however p-values
depend on each other. It rests on seeds that scatter nearly normally, and decides nothing: the lock of recipes does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import special

from attnres_core.claims.statements import Interval, Verdict
from attnres_core.report.across_seeds import Across, RecipeClaim, is_fixed
from attnres_core.statistics.multiplicity import benjamini_yekutieli

FALSE_SHARE = 0.05
"""The expected share of false findings among the marked ones, at most."""
FOR, AGAINST = "+", "\N{MINUS SIGN}"


def marks(claims: Sequence[RecipeClaim]) -> list[str]:
    """`+` for claims that the seeds speak for, a minus sign for such as they speak against, empty otherwise.

    Args:
        claims: all that are shown together; those without statements have no p-value and no mark.
    """
    stated = [claim for claim in claims if claim.statements]
    adjusted = benjamini_yekutieli([p for claim in stated for p in p_values(claim)])
    found = {
        claim.key: FOR if holds <= FALSE_SHARE else AGAINST if fails <= FALSE_SHARE else ""
        for claim, holds, fails in zip(stated, adjusted[::2], adjusted[1::2], strict=True)
    }
    return [found.get(claim.key, "") for claim in claims]


def p_values(claim: RecipeClaim) -> tuple[float, float]:
    """The p-values for a claim and against it.

    For it: every statement must hold, so the largest of theirs (intersection-union). Against it: one statement that
    fails is enough, so the smallest times their number, under every kind of ablation. A claim whose families the data
    chose has none against it.
    """
    each = [_of_statement(*one, claim.alpha) for one in claim.statements]
    size = len(each) // claim.kinds
    groups = [each[start : start + size] for start in range(0, len(each), size)]
    fails = max(min(1.0, size * min(fails for _, fails in group)) for group in groups)
    return max(holds for holds, _ in each), 1.0 if claim.picked else fails


def _of_statement(across: Across, limits: Interval, verdict: Verdict, alpha: float) -> tuple[float, float]:
    """The p-values for one statement and against it, each 1 where no limit stands.

    One about a model that no seed changes has those of its own documents, of which the record tells the verdict.
    """
    if is_fixed(across.text):
        return (alpha if verdict is Verdict.SUPPORTED else 1.0), (alpha if verdict is Verdict.REFUTED else 1.0)
    if limits.gate:
        return 1.0, 1.0
    error = across.error

    def p(sign: int, edge: float) -> float:
        """Of the hypothesis that sign * x is at most sign * edge; it rests on one limit."""
        stands = across.has_low if sign > 0 else across.has_high
        score = (sign * (limits.mean - edge) - across.noise) / error
        return float(special.stdtr(len(across.estimates) - 1, -score)) if stands and math.isfinite(score) else 1.0

    edge = across.threshold
    sides = {">": [(1, edge)], "<": [(-1, edge)], "abs<": [(1, -edge), (-1, edge)]}[across.op]
    against = min(1.0, len(sides) * min(p(-sign, end) for sign, end in sides))
    return max(p(sign, end) for sign, end in sides), against
