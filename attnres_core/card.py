"""A run's replication card: a short Markdown page for a paper's appendix or a model card.

Everything in a record may come from someone else (checkpoint names, claims' words, a command line): all of it is
escaped, and stays text in Markdown and in the HTML made from it. The same record gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attnres_core.records import escaped, one_line, read_record
from attnres_core.report.text import VERDICTS, deciding, given, interval, number

TITLE = "attnres-core: a causal hypothesis test suite for Attention-Residual language models"
"""The software's name, as CITATION.cff has it."""


def _block(text: object) -> list[str]:
    """A code block of one line that cannot be left from inside."""
    line = one_line(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", line)), default=0))
    return [fence, line, fence]


def write_card(record_file: Path) -> str:
    """The replication card of a run's JSON record, as Markdown.

    Raises:
        ValueError: it is no record that this version wrote, with the remedy.
    """
    record = read_record(record_file)
    digest = hashlib.sha256(record_file.read_bytes()).hexdigest()
    try:
        return "\n".join(_lines(record, digest)) + "\n"
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        problem = f"a malformed record ({type(error).__name__}: {error})"
        raise ValueError(f"{record_file}: {problem}; give one that this version wrote, as it was written") from None


def _lines(record: Mapping[str, Any], digest: str) -> list[str]:
    claims, run = record["claims"], record["run"]
    name = escaped(record["models"]["trained"]["name"])
    lines = [f"# Replication card: {name}", "", f"{escaped(record['question'])} {_counts(claims)}", ""]
    if not record["complete"]:
        lines += [f"**Incomplete run:** {len(claims)} of {int(record['collected'])} claims decided.", ""]
    lines += [_method(record), ""]
    for heading, control in (("Claims", False), ("Controls", True)):
        if own := [claim for claim in claims if bool(claim["control"]) is control]:
            lines += [f"## {heading}", "", "Each with the statement that decided it.", "", *_table(own), ""]
    lines += ["## What it was decided on", "", "| | | SHA-256 |", "|---|---|---|", *_material(record)]
    lines += [f"| record | of {escaped(run['started'])} | {digest} |", ""]
    versions = ", ".join(f"{escaped(package)} {escaped(version)}" for package, version in run["versions"].items())
    lines += ["## Again", "", *_block(run["command"]), "", f"With {versions}.", ""]
    version = escaped(run["versions"]["attnres-core"])
    lines += ["## Citation", "", f"{TITLE}, version {version} (see its CITATION.cff)."]
    if cited := sorted({one_line(claim["cites"]) for claim in claims if claim["cites"]}):
        lines += ["", f"The claims come from: {'; '.join(map(escaped, cited))}."]
    return lines


def _counts(claims: Sequence[Mapping[str, Any]]) -> str:
    """`67 claims: 39 SUPPORTED, 19 REFUTED, 9 INCONCLUSIVE`, as a sentence."""
    own = [claim["verdict"] for claim in claims if not claim["control"]]
    found = [f"{own.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in own]
    return f"{len(own)} claims: {', '.join(found) or 'none decided'}."


def _method(record: Mapping[str, Any]) -> str:
    settings, run = record["settings"], record["run"]
    prompts = settings["prompts"]
    early = " Claims of `>` were also looked at early, each look at a share of the level." if run["early"] else ""
    quick = " **This was a quick run: it confirms nothing.**" if settings["quick"] else ""
    return (
        f"**Method.** Routing is ablated in paired clean and ablated runs over the first {int(prompts['window'])} "
        f"tokens of each prompt; the unit is the document. A statement about the mean over documents is decided "
        f"by one-sided limits, the outer of bootstrap-t ({int(settings['resamples']):,} resamples, seed "
        f"{int(run['seed'])}) and Student-t, at the claim's share of alpha {given(settings['alpha'])} (smallest share "
        f"{given(settings['alpha_claim'])}), which is to bound the probability of any wrong verdict among the "
        f"registered claims; the interval shown is the deciding one. REFUTED means that the limit on the other "
        f"side fails the threshold, not that there is no effect. Measured on {escaped(settings['device'])} in "
        f"{escaped(settings['dtype'])}. Verdicts are about this checkpoint, not about a training recipe.{early}{quick}"
    )


def _table(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row a claim."""
    rows = ["| claim | statement | verdict | effect [interval] | n | rests on |", "|---|---|---|---|---|---|"]
    for claim in claims:
        statement, effect, n = "", "", ""
        if (own := deciding(dict(claim))) is not None:
            others = len(claim["statements"]) - 1
            statement = escaped(own["text"]) + (f" (and {others} more)" if others else "")
            limits = "exact" if own["exact"] else interval((own["low"], own["high"]), own["unit"])
            effect = f"{number(own['estimate'], own['unit'])} {limits} {escaped(own['unit'])}"
            n = str(int(own["n"]))
        standing = ", ".join(escaped(claim[field]) for field in ("registration", "split") if claim[field])
        rows.append(
            f"| {escaped(claim['title'])} | {statement} | {escaped(claim['verdict'])} | {effect} | {n} | {standing} |"
        )
    return rows


def _material(record: Mapping[str, Any]) -> list[str]:
    rows = [
        f"| {escaped(role)} | {escaped(model['name'])} ({escaped(model['dialect'])}, "
        f"{int(model['num_layers'])} layers, {int(model['num_blocks'])} blocks) | {escaped(model['digest'])} |"
        for role, model in record["models"].items()
    ]
    prompts, lock = record["settings"]["prompts"], record["settings"]["registrations"]
    counts = f"{int(prompts['exploration'])} exploration, {int(prompts['confirmation'])} confirmation"
    rows.append(f"| prompts | {escaped(prompts['name'])} ({counts}) | {escaped(prompts['digest'])} |")
    if lock["lock"]:
        rows.append(f"| claims.lock | {int(lock['claims'])} registered claims | {escaped(lock['lock'])} |")
    return rows
