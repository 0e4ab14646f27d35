"""Two runs side by side: the verdicts that changed first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attnres_core.claims.claim import claim_key
from attnres_core.files import atomic, writing
from attnres_core.records.reading import one_line, read_record
from attnres_core.records.schema import ClaimEntry, Record
from attnres_core.report import paired
from attnres_core.report.html.page import render_comparison
from attnres_core.report.numbers import number
from attnres_core.report.wording import deciding, limits


@dataclass(frozen=True, slots=True)
class Pair:
    """One claim in two runs; None where a run did not hold it."""

    key: str
    title: str
    first: ClaimEntry | None
    second: ClaimEntry | None

    @property
    def kind(self) -> str:
        """`changed`, `restated` (not the same statements), `only first`, `only second` or `same`."""
        if self.first is None or self.second is None:
            return "only second" if self.first is None else "only first"
        if self.first["statement"] != self.second["statement"]:
            return "restated"
        return "same" if self.first["verdict"] == self.second["verdict"] else "changed"


KINDS = {
    "changed": "Verdicts that changed",
    "restated": "Claims that state something else now",
    "only first": "Claims of the first run alone",
    "only second": "Claims of the second run alone",
    "same": "Verdicts that stayed",
}


def compare(
    first: Path, second: Path, page: Path | None = None, *, by_document: bool = False
) -> tuple[str, list[Pair]]:
    """Two runs' records compared: as text and claim by claim, and where a page is wanted there, too.

    Args:
        first: the record of one run.
        second: that of the other.
        page: where a page goes; None: there is none.
        by_document: test each column's difference over the same documents, too, and tell of it in both.

    Raises:
        ValueError: one of them is no record that this version wrote, the page cannot be written, or the runs cannot be
            paired, with the remedy.
    """
    one, other = read_record(first), read_record(second)
    tested = paired.paired(first, one, second, other) if by_document else None
    if page is not None:
        told = as_page(one, other, tested)
        with writing(page), atomic(page) as temporary:
            temporary.write_bytes(told.encode("utf-8", "backslashreplace"))
    text = as_text(one, other) + (f"\n\n{paired.as_text(tested)}" if tested else "")
    return text, compared(one, other)


def compared(first: Record, second: Record) -> list[Pair]:
    """Every claim of either run: what changed first, then in order of their names."""
    one, other = ({claim_key(claim["node_id"]): claim for claim in record["claims"]} for record in (first, second))
    titles = {key: claim["title"] for key, claim in (other | one).items()}
    pairs = [Pair(key, titles[key], one.get(key), other.get(key)) for key in sorted(titles)]
    return sorted(pairs, key=lambda pair: list(KINDS).index(pair.kind))


def differences(first: Record, second: Record) -> list[tuple[str, str, str]]:
    """Return what else is not the same: (what, first, second) for checkpoints, prompts, settings and versions."""
    found = []
    roles = dict.fromkeys([*first["models"], *second["models"]])
    for what, read in ({role: _model(role) for role in roles} | _READ).items():
        mine, yours = read(first), read(second)
        if mine != yours:
            found.append((what, mine, yours))
    return found


def _model(role: str) -> Callable[[Record], str]:
    def read(record: Record) -> str:
        model = record["models"].get(role)
        return f"{model['name']} {model['digest'][:12]}" if model else "-"

    return read


_READ: dict[str, Callable[[Record], str]] = {
    "prompts": lambda record: f"{record['settings']['prompts']['name']} {record['settings']['prompts']['digest'][:12]}",
    "splits": lambda record: (
        f"{record['settings']['prompts']['exploration']} exploration, "
        f"{record['settings']['prompts']['confirmation']} confirmation"
    ),
    "alpha": lambda record: f"{record['settings']['alpha']:g}",
    "seed": lambda record: str(record["run"]["seed"]),
    "quick": lambda record: str(record["settings"]["quick"]),
    "sequential": lambda record: str(record["settings"]["sequential"]),
    "device": lambda record: f"{record['settings']['device']}, {record['settings']['dtype']}",
    "lock": lambda record: record["settings"]["registrations"]["lock"][:12] or "none",
    "versions": lambda record: ", ".join(f"{name} {version}" for name, version in record["run"]["versions"].items()),
}


def numbers(claim: ClaimEntry) -> str:
    """`+0.110 nats/token [+0.090, +0.130]` of the statement that decides."""
    decided_by = deciding(claim)
    if decided_by is None or decided_by["estimate"] is None:
        return ""
    return f"{number(decided_by['estimate'], decided_by['unit'])} {decided_by['unit']} {limits(decided_by)}"


def as_text(first: Record, second: Record) -> str:
    """The comparison for a terminal, which is sent nothing that it would obey; names alone go beyond 80 columns."""
    pairs = compared(first, second)
    lines = [one_line(f"{what}: {mine} -> {yours}") for what, mine, yours in differences(first, second)]
    for kind in KINDS:
        group = [pair for pair in pairs if pair.kind == kind]
        if not group:
            continue
        lines += ["", f"{kind}: {len(group)}"]
        for pair in group if kind != "same" else ():
            lines.append(f"  {one_line(pair.title)}")
            for claim in (pair.first, pair.second):
                if claim is not None:
                    lines.append(f"    {one_line(claim['verdict']):<15} {one_line(numbers(claim))}".rstrip())
    return "\n".join(lines).lstrip("\n")


def as_page(first: Record, second: Record, tested: paired.Paired | None = None) -> str:
    """The comparison as one self-contained page, with the test of the same documents where there is one."""
    pairs = compared(first, second)
    return render_comparison(
        runs={"first": first, "second": second},
        pairs=pairs,
        groups={kind: [pair for pair in pairs if pair.kind == kind] for kind in KINDS},
        headings=KINDS,
        differences=differences(first, second),
        tested=tested
        and {
            "summary": paired.summary(tested),
            "groups": {heading: list(map(paired.shown, group)) for heading, group in paired.grouped(tested).items()},
            "left_out": tested.left_out,
        },
    )
