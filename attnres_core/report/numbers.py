"""Numbers as a reader sees them: in the terminal, on the page, on a card, wherever a record is told.

`RULES` gives the page's script what it needs to write them the same way.
"""

from __future__ import annotations

import math

from attnres_core.quantities.vocabulary import Summary
from attnres_core.records.schema import OperatorSign

DASH, MINUS, TIMES, INFINITY, WITHIN = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}", "∞", "within ±"
DIGITS = 3
"""Significant digits of what was measured."""
PLAIN = (-4, 6)
"""The powers of ten between which a measured number is written out."""
UNSIGNED_UNITS = tuple(dict.fromkeys(summary.spec.unit for summary in Summary if summary is not Summary.LOSS))
"""Units of amounts that are read off the depth weights (a loss has that of effects).

Numbers in any other unit are effects or correlations, which carry their sign."""
EXACT = "exact"
"""Stands for the interval of a number that is no sample's."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
RULES = {
    "dash": DASH,
    "minus": MINUS,
    "times": TIMES,
    "infinity": INFINITY,
    "within": WITHIN,
    "digits": DIGITS,
    "plain": PLAIN,
    "unsigned_units": UNSIGNED_UNITS,
    "exact": EXACT,
}


def number(value: float | None, unit: str | None = None, *, signed: bool | None = None) -> str:
    """Three significant digits with a true minus sign; effects carry their sign; None is a dash."""
    if value is None:
        return DASH
    if signed is None:
        signed = bool(unit) and unit not in UNSIGNED_UNITS
    return _sign(value, signed) + _magnitude(abs(value))


def _sign(value: float, signed: bool) -> str:
    if value < 0:
        return MINUS
    return "+" if signed and value > 0 else ""


def _magnitude(size: float) -> str:
    if size == 0:
        return "0"
    if not math.isfinite(size):
        return INFINITY if size > 0 else "NaN"
    mantissa, _, power = f"{size:.{DIGITS - 1}e}".partition("e")
    exponent = int(power)
    if not PLAIN[0] <= exponent <= PLAIN[1]:
        return f"{mantissa}{TIMES}{_power(exponent)}"
    return f"{size:,.{max(0, DIGITS - 1 - exponent)}f}"


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(_SUPERSCRIPT)}"


def given(value: float) -> str:
    """A number that someone chose, as they would write it: `0.02`, `0.00078`, `10⁻⁶`."""
    size, sign = abs(value), MINUS if value < 0 else ""
    if size == 0 or 1e-4 <= size < 1e6:
        return sign + (f"{size:.6g}" if size < 1000 else f"{size:,.0f}")
    mantissa, _, exponent = f"{size:.2e}".partition("e")
    factor = f"{float(mantissa):g}{TIMES}" if float(mantissa) != 1 else ""
    return f"{sign}{factor}{_power(int(exponent))}"


def interval(limits: tuple[float | None, float | None], unit: str | None = None, *, signed: bool | None = None) -> str:
    """`[+0.110, +0.160]`; a limit that is None is infinite."""
    low, high = limits
    below = f"{MINUS}{INFINITY}" if low is None else number(low, unit, signed=signed)
    above = f"+{INFINITY}" if high is None else number(high, unit, signed=signed)
    return f"[{below}, {above}]"


def threshold(op: OperatorSign, edge: float) -> str:
    """Return what an estimate is held against: `> 0.02`, or `within ±0.01`."""
    return f"{WITHIN}{given(edge)}" if op == "abs<" else f"{op} {given(edge)}"


def count(size: int) -> str:
    """A large number in words: `2.9 M`."""
    for unit, name in ((10**9, " B"), (10**6, " M"), (10**3, " k")):
        if size >= unit:
            return f"{size / unit:.3g}{name}"
    return str(size)


def several(size: int, what: str) -> str:
    """So many of what is named: `1 claim`, `2 claims`."""
    return f"{size} {what}{'' if size == 1 else 's'}"


def confidence(level: float) -> str:
    """A confidence level in percent, with the digits it needs: `99.92 %`."""
    digits = 0 if level >= 1 else max(0, math.ceil(-math.log10(1 - level)) - 1)
    return f"{100 * level:.{min(digits, 6)}f} %"


def percent(share: float, digits: int = 2) -> str:
    """A share in percent, with so many significant digits: `3 %`, `0.62 %`."""
    return f"{float(f'{100 * share:.{digits}g}'):g} %"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
