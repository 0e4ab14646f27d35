"""A run's replication card: a short Markdown page for a paper's appendix or a model card.

Everything in a record may come from someone else (checkpoint names, claims' words, a command line): all of it is
escaped, and stays text in Markdown and in the HTML made from it. The same record gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from attnres_core.claims.claim import claim_key
from attnres_core.records.contradictions import Contradiction, contradictions
from attnres_core.records.reading import escaped, one_line, read_record
from attnres_core.records.schema import VERDICTS, ClaimEntry, ModelEntry, Record
from attnres_core.report.numbers import given, number, several
from attnres_core.report.scope import is_exact, scope
from attnres_core.report.wording import against, attested, deciding, limits, standing, why_open

TITLE = "attnres-core: a causal hypothesis test suite for Attention-Residual language models"
"""The software's name, as CITATION.cff has it."""


def _block(text: object) -> list[str]:
    """A code block of one line that cannot be left from inside."""
    line = one_line(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", line)), default=0))
    return [fence, line, fence]


def write_card(record_file: Path, only: str = "") -> str:
    """The replication card of a run's JSON record, as Markdown.

    Args:
        record_file: the record.
        only: show claims with this in their key or title alone.

    Raises:
        ValueError: it is no record that this version wrote, or no claim is to be shown, with the remedy.
    """
    record, shown = read_chosen(record_file, only)
    digest = hashlib.sha256(record_file.read_bytes()).hexdigest()
    return "\n".join(_lines(record, shown, digest)) + "\n"


def read_chosen(record_file: Path, only: str) -> tuple[Record, list[ClaimEntry]]:
    """A run's JSON record, and its claims with this in their key or title.

    Raises:
        ValueError: it is no record that this version wrote, or there is no such claim, with the remedy.
    """
    record = read_record(record_file)
    return record, having(record["claims"], only, str(record_file))


def having(claims: Sequence[ClaimEntry], only: str, where: str) -> list[ClaimEntry]:
    """The claims with this in their key or title.

    Raises:
        ValueError: there is none; `where` says in what.
    """
    shown = [c for c in claims if only.lower() in f"{claim_key(c['node_id'])} {c['title']}".lower()]
    if only and not shown:
        raise ValueError(f"{where}: no claim has {only!r} in its key or title; give a part of one that it holds")
    return shown


def _lines(record: Record, shown: Sequence[ClaimEntry], digest: str) -> list[str]:
    claims, run = record["claims"], record["run"]
    name = escaped(record["models"]["trained"]["name"])
    covers, *bounds = map(escaped, scope(record))
    lines = [f"# Replication card: {name}", "", f"{escaped(record['question'])} **{covers}** {_counts(claims)}", ""]
    lines += [" ".join(bounds), ""] if bounds else []
    if not record["complete"]:
        lines += [f"**Incomplete run:** {len(claims)} of {record['collected']} claims decided.", ""]
    lines += [_method(record), ""]
    if len(shown) < len(claims):
        lines += [f"Shown are {len(shown)} of its {len(claims)} claims and controls; the counts are of all.", ""]
    if own := [claim for claim in shown if not claim["control"]]:
        lines += ["## Claims", "", *_table(own), ""]
    if own := [claim for claim in shown if claim["control"]]:
        lines += ["## Controls", "", *_controls(own), ""]
    if pairs := contradictions(shown):
        lines += ["## Contradictions", "", "| | against | |", "|---|---|---|", *map(_pair, pairs), ""]
    lines += ["## What it was decided on", "", "| | | SHA-256 |", "|---|---|---|", *_material(record)]
    lines += [f"| record | of {escaped(run['started'])} | {digest} |", ""]
    versions = ", ".join(f"{escaped(package)} {escaped(version)}" for package, version in run["versions"].items())
    lines += ["## Again", "", *_block(run["command"]), "", f"With {versions}.", ""]
    version = escaped(run["versions"].get("attnres-core", "unknown"))
    return [*lines, "## Citation", "", f"{TITLE}, version {version} (see its CITATION.cff)."]


def _counts(claims: Sequence[ClaimEntry]) -> str:
    """`67 claims: 39 SUPPORTED, 19 REFUTED, 9 INCONCLUSIVE`, as a sentence."""
    own = [claim["verdict"] for claim in claims if not claim["control"]]
    found = [f"{own.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in own]
    return f"{several(len(own), 'claim')}: {', '.join(found) or 'none decided'}."


def _method(record: Record) -> str:
    settings, run = record["settings"], record["run"]
    prompts = settings["prompts"]
    told = (
        escaped(run["early"]["text"].partition(";")[0]) if run["early"] else ""
    )  # `verdicts by documents: 64 at 64, ...`
    early = f" Claims were looked at early, too, each look at a share of the level: {told}." if told else ""
    quick = " **This was a quick run: it confirms nothing.**" if settings["quick"] else ""
    sizes = sorted({claim["documents"] for claim in record["claims"] if claim["documents"] is not None}) or [0]
    beyond = (
        " `(12% beyond)`: so many of the ablated reads lie farther from the clean reads of other prompts than 99 % of "
        "clean reads do; no verdict depends on it."
        if any(claim.get("beyond") is not None for claim in record["claims"])
        else ""
    )
    documents = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return (
        f"**Method.** Depth weights are read in clean runs, effects are differences of paired clean and ablated runs, "
        f"over the first {prompts['window']} tokens of each prompt; the unit is the document, and verdicts rest "
        f"on {documents} of them. A statement is about a mean over documents, or about a correlation as the mean of "
        f"its jackknife values, one a document. It is decided by one-sided limits, the outer of bootstrap-t "
        f"({settings['resamples']:,} resamples, seed {run['seed']}) and Student-t, at the claim's share of "
        f"alpha {given(settings['alpha'])} (smallest share {given(settings['alpha_claim'])}); the interval shown is "
        f"the deciding one. What routing keeps constant, or a worst case, is decided by value (exact) and holds no "
        f"alpha. Where the whole registered set was decided, a row ends with p-values adjusted by Holm (any false "
        f"finding) and by Benjamini and Yekutieli (BY; the share of false findings). A claim of several statements is "
        f"shown with the one that its verdict hangs on: of a SUPPORTED one the tightest, in its own standard errors; "
        f"of a REFUTED one that which refutes by most. REFUTED means that the limit on the other side fails the "
        f"threshold, not that there is no effect. Claims were registered before their data were read and decided on "
        f"the confirmation split, unless marked. Measured on {escaped(settings['device'])} in "
        f"{escaped(settings['dtype'])}. Verdicts are about this checkpoint, not about a training recipe."
        f"{early}{beyond}{quick}"
    )


def _table(claims: Sequence[ClaimEntry]) -> list[str]:
    """A row a claim, under their sources in order; those that are not applicable in a sentence below."""
    rows = [
        "| source | claim | verdict | effect [interval] against threshold | p Holm | p BY |",
        "|---|---|---|---|---|---|",
    ]
    told = [claim for claim in claims if claim["verdict"] != "NOT APPLICABLE"]
    above = None
    for source, claim in sorted(((_source(claim), claim) for claim in told), key=lambda pair: pair[0]):
        named = "" if source == above else escaped(source[1])
        above = source
        rows.append(f"| {named} | {titled(claim)} | {_verdict(claim)} | {_numbers(claim)} | {_adjusted(claim)} |")
    rest = [titled(claim) for claim in claims if claim["verdict"] == "NOT APPLICABLE"]
    return [*(rows if told else []), *(["", f"Not applicable to this checkpoint: {'; '.join(rest)}."] if rest else [])]


def _controls(claims: Sequence[ClaimEntry]) -> list[str]:
    """Those that held, in a sentence; a row for each of the others."""
    held = [titled(claim) for claim in claims if claim["verdict"] == "SUPPORTED"]
    others = [claim for claim in claims if claim["verdict"] != "SUPPORTED"]
    told = f"{len(held)} of {len(claims)} held{': ' if held else ''}{'; '.join(held)}."
    return [told, *(["", *_table(others)] if others else [])]


def _source(claim: ClaimEntry) -> tuple[bool, str]:
    """Return what a claim cites, so that those that cite nothing come last."""
    return not claim["cites"], one_line(claim["cites"] or "-")


def titled(claim: ClaimEntry) -> str:
    """The claim's title, marked where its verdict confirms nothing or came after its data."""
    mark = standing(claim)
    return escaped(claim["title"]) + (f" ({escaped(mark)})" if mark else "")


def _verdict(claim: ClaimEntry) -> str:
    """`SUPPORTED`; `INCONCLUSIVE: not matched`."""
    return ": ".join(filter(None, [escaped(claim["verdict"]), escaped(why_open(claim))]))


def _numbers(claim: ClaimEntry) -> str:
    """`+1.83 [+1.72, +1.94] nats/token > 0.02 (12% beyond)`; no limits where a gate took both."""
    if (own := deciding(claim)) is None or own["estimate"] is None:
        return ""
    gated = not own["exact"] and own["low"] is None and own["high"] is None
    ends = "" if gated else limits(own)
    far = claim.get("beyond")
    beyond = "" if far is None else f"({far:.0%} beyond)"
    told = [number(own["estimate"], own["unit"]), ends, escaped(own["unit"]), escaped(against(own)), beyond]
    return " ".join(filter(None, told))


def _adjusted(claim: ClaimEntry) -> str:
    """Two cells: the p-values adjusted by Holm and by Benjamini-Yekutieli; a dash where nothing was tested."""
    return " | ".join(number(None if is_exact(claim) else claim[name]) for name in ("p_holm", "p_by"))


def _pair(pair: Contradiction) -> str:
    """Two claims that contradict each other, and what was decided."""
    both = " | ".join(f"{titled(claim)}: {escaped(claim['verdict'])}" for claim in (pair.first, pair.second))
    return f"| {both} | {escaped(pair.sentence)} |"


def _routing(model: ModelEntry) -> str:
    """What a model's routing is called, and what read it where the library does not compute it."""
    return model["dialect"] + (f", read by the adapter {model['adapter']}" if "adapter" in model else "")


def _material(record: Record) -> list[str]:
    rows = [
        f"| {escaped(role)} | {escaped(model['name'])} ({escaped(_routing(model))}, "
        f"{model['num_layers']} layers, {model['num_blocks']} blocks) | {escaped(model['digest'])} |"
        for role, model in record["models"].items()
    ]
    lock = record["settings"]["registrations"]
    for prompts in (record["settings"]["prompts"], *record["settings"].get("prompt_sets", {}).values()):
        counts = f"{prompts['exploration']} exploration, {prompts['confirmation']} confirmation"
        rows.append(f"| prompts | {escaped(prompts['name'])} ({counts}) | {escaped(prompts['digest'])} |")
    if lock["lock"]:
        told = ", ".join(filter(None, [f"{lock['claims']} registered claims", escaped(attested(lock))]))
        rows.append(f"| claims.lock | {told} | {escaped(lock['lock'])} |")
    return rows
