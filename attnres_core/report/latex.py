"""A run's claims as a LaTeX table (booktabs), for a paper.

Everything in a record may come from someone else: all of it is escaped, and stays text. Only ASCII commands that every
engine knows are written; what a record holds beyond ASCII stays as it is.
"""

from __future__ import annotations

import re
from pathlib import Path

from attnres_core.claims.claim import claim_key
from attnres_core.records.reading import one_line
from attnres_core.records.schema import ClaimEntry, Record
from attnres_core.report.card import read_chosen
from attnres_core.report.numbers import number, several
from attnres_core.report.scope import scope
from attnres_core.report.wording import against, answer, deciding, limits, standing, why_open

_SPECIAL = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", "\N{MINUS SIGN}": "$-$", "\N{MULTIPLICATION SIGN}": r"$\times$"},
    **{"\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{INFINITY}": r"$\infty$", "\N{HORIZONTAL ELLIPSIS}": r"\dots{}"},
    **{'"': "''", "[": "{[}", "]": "{]}"},  # (an optional argument begins with a bracket)
}
_DIGITS = str.maketrans(
    "0123456789-",
    "\N{SUPERSCRIPT ZERO}\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO}\N{SUPERSCRIPT THREE}"
    "\N{SUPERSCRIPT FOUR}\N{SUPERSCRIPT FIVE}\N{SUPERSCRIPT SIX}\N{SUPERSCRIPT SEVEN}\N{SUPERSCRIPT EIGHT}"
    "\N{SUPERSCRIPT NINE}\N{SUPERSCRIPT MINUS}",
)
_LOWERED = {raised: chr(plain) for plain, raised in _DIGITS.items()}
_RAISED = re.compile(f"[{''.join(map(chr, _LOWERED))}]+")


def write_latex(record_file: Path, only: str = "") -> str:
    """The claims of a run's JSON record as a LaTeX table, which needs the package booktabs.

    Args:
        record_file: the record.
        only: show claims with this in their key or title alone.

    Raises:
        ValueError: it is no record that this version wrote, or no claim is to be shown, with the remedy.
    """
    record, shown = read_chosen(record_file, only)
    return "\n".join(_lines(record, [claim for claim in shown if not claim["control"]])) + "\n"


def _lines(record: Record, shown: list[ClaimEntry]) -> list[str]:
    name = escaped(record["models"]["trained"]["name"])
    part = f" Shown: {several(len(shown), 'claim')}." if len(shown) < len(record["claims"]) else ""
    caption = " ".join(map(escaped, [*scope(record), answer(record["claims"])])) + part
    return [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        f"\\caption{{Claims about {name}. {caption}}}",
        r"\begin{tabular}{llrll}",
        r"\toprule",
        r"claim & verdict & effect & interval & threshold \\",
        r"\midrule",
        *map(_row, sorted(shown, key=lambda claim: (claim["cites"] or "", claim_key(claim["node_id"])))),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _row(claim: ClaimEntry) -> str:
    own, mark = deciding(claim), standing(claim)
    title = f"{claim['title']} ({mark})" if mark else claim["title"]
    verdict = ": ".join(filter(None, [str(claim["verdict"]), why_open(claim)]))
    if own is None or own["estimate"] is None:
        cells = [title, verdict, "", "", ""]
    else:
        effect = f"{number(own['estimate'], own['unit'])} {own['unit']}"
        cells = [title, verdict, effect, limits(own), against(own)]
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: object) -> str:
    """One line of text that LaTeX reads as nothing else."""
    inert = "".join(_SPECIAL.get(character, character) for character in one_line(text))
    return _RAISED.sub(lambda found: f"$^{{{found.group().translate(_LOWERED)}}}$", inert)
