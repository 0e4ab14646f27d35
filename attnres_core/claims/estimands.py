"""The subject of a statement, in words and in symbols.

Symbols: d a document, x_d its prompt, L the mean next-token loss, s_i and a_i the sources and depth weights of a site,
z_i the logits behind the weights, F the ablated family, do(...) what the intervention sets; E_d is the mean over the
documents that prompts like these are drawn from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attnres_core.claims.statements import Operator, Statement
from attnres_core.quantities.paths import Reads
from attnres_core.quantities.quantity import Ablation, Association, Prediction, Quantity, RoutingSummary
from attnres_core.quantities.vocabulary import (
    ANY,
    AnyRole,
    Control,
    Part,
    Positions,
    Role,
    Statistic,
    Sublayer,
    layers_text,
)

_CONTROLS = {
    Control.MATCHED_MASS: (
        "other sources of the same mass, token by token, stand for {f}",
        "others of equal mass in the place of F",
    ),
    Control.MATCHED_COUNT: (
        "as many other sources, drawn at random, stand for {f}",
        "as many others in the place of F",
    ),
    Control.RANDOM_SITES: (
        "as many other sites, drawn at random, stand for these",
        "as many other sites in the place of S",
    ),
    Control.RANDOM_SOURCES: (
        "as many sources, drawn at random at each site from all but the current state, stand for {f}",
        "as many sources drawn at random in the place of F",
    ),
    Control.PLACEBO: ("the donor has the same answer", "the donor has the answer of x_d"),
}
_LETTERS = {Part.STATES: "s", Part.WEIGHTS: "a", Part.BOTH: "(a, s)"}
_STATISTICS = {
    Statistic.SLOPE: "the least-squares slope of {y} on {x}",
    Statistic.PEARSON: "the linear correlation of {x} and {y}",
    Statistic.SPEARMAN: "the rank correlation of {x} and {y}",
    Statistic.KENDALL: "Kendall's tau of {x} and {y}",
}
_RELATIONS = {Operator.ABOVE: "{form} > {t}", Operator.BELOW: "{form} < {t}", Operator.WITHIN: "|{form}| < {t}"}
_READERS = {Sublayer.ATTN: "attention", Sublayer.MLP: "MLP", Sublayer.FINAL: "the read-out"}
_READERS |= {Sublayer.ALL_SITES: "every site", Sublayer.ALL_SUBLAYERS: "attention and MLP"}


def estimands(statements: Sequence[Statement]) -> dict[str, Any]:
    """The quantities that a claim's statements relate, with one letter for each.

    Returns:
        `{"relations": ["A - B > 0.02", ...], "terms": {"A": "drop(older, attn, late) on trained [delta_nll]", ...}}`
    """
    names: dict[Any, str] = {}
    for quantity in (quantity for statement in statements for quantity, _ in statement.form.terms):
        names.setdefault(quantity, chr(ord("A") + len(names)) if len(names) < 26 else f"A{len(names)}")
    relations = [_relation(statement, names) for statement in statements]
    return {"relations": relations, "terms": {name: str(quantity) for quantity, name in names.items()}}


def _relation(statement: Statement, names: Mapping[Any, str]) -> str:
    form = ""
    for quantity, coefficient in statement.form.terms:
        size = "" if abs(coefficient) == 1 else f"{abs(coefficient):g} "
        sign = ("− " if coefficient < 0 else "+ ") if form else ("−" if coefficient < 0 else "")
        form += f"{' ' if form else ''}{sign}{size}{names[quantity]}"
    return _RELATIONS[statement.operator].format(form=form, t=f"{statement.threshold:g}")


def words(quantity: Quantity) -> str:
    """One quantity as a clause of English."""
    over = f", over the prompts {quantity.prompts}" if quantity.prompts else ""
    return f"{_words(quantity)}{over}{f', each as {quantity.variant!r}' if quantity.variant else ''}"


def _words(quantity: Quantity) -> str:
    what = quantity.what
    family, model = _named(what.family), _of(quantity.role)
    if isinstance(what, Association):
        assert quantity.metric is not None, "an effect has a metric"
        effect = quantity.metric.spec.words.removeprefix("the mean ").rstrip(",")
        every = f"over every family dropped at every site of {_where(what)}, in {model}"
        statistic = _STATISTICS[what.kind].format(x=what.by, y="effect")
        return f"{statistic}, the effect being the {effect}, {every}"
    if isinstance(what, Prediction):
        read = f"{what.summary.kind.spec.words.removeprefix('the ').format(f=family)} at {_where(what.summary)}"
        statistic = _STATISTICS[what.kind].format(x=f"a document's {read}", y="its loss")
        return f"{statistic} over documents, in {model}"
    if isinstance(what, RoutingSummary):
        place = f" at {_where(what)}," if what.kind.spec.of_sites else ""
        return f"{what.kind.spec.words.format(f=family)}{place} in {model}"
    assert quantity.metric is not None, "an effect has a metric"
    act = what.kind.spec.words.format(f=family, **_amounts(what))
    notes = [_CONTROLS[what.control][0].format(f=family)] if what.control else []
    notes += ["the weights computed anew"] if what.recomputed else []
    notes += ["identical tensors taken with it"] if what.copies else []
    notes += [f"averaged over {what.draws} random draws"] if what.draws > 1 else []
    notes += ["one layer at a time, averaged over the layers"] if what.per_site else []
    notes += (
        [f"what this changes in their outputs is seen by {_path(what.via)} and by no other read"] if what.via else []
    )
    notes += [f"over {_AT[quantity.at]}"] if quantity.at is not Positions.ALL else []
    notes += [f"measured in {quantity.dtype}"] if quantity.dtype else []
    tail = "".join(f"; {note}" for note in notes)
    return f"{quantity.metric.spec.words} when {act} in what {_where(what)} reads, in {model}{tail}"


def symbols(quantity: Quantity) -> str:
    """One quantity as a formula, and what its letters stand for: F the family, S the sites."""
    what = quantity.what
    spared = isinstance(what, Ablation) and what.kind.spec.spares
    letters = [] if what.family is None and not spared else [f"F = {what.family or 'none'}"]
    letters += [f"S = {_where(what.summary if isinstance(what, Prediction) else what)}", _of(quantity.role)]
    if isinstance(what, RoutingSummary):
        return ", ".join([what.kind.spec.formula, *(letters if what.kind.spec.of_sites else letters[-1:])])
    if isinstance(what, Prediction):
        read = what.summary.kind.spec.formula.removeprefix("E_d")
        return ", ".join([f"{what.kind}({read}, L(x_d)) over d", *letters])
    assert quantity.metric is not None, "an effect has a metric"
    metric = quantity.metric.spec.formula
    if isinstance(what, Association):
        effect = metric.format(act="a_F ← 0, a ← a / Σa at s")
        return ", ".join([f"{what.kind}({what.by.spec.formula}, E_d[{effect}]) over (s, F), s in S", *letters])
    act = what.kind.spec.formula.format(**_amounts(what))
    place = "s" if what.per_site else "S"
    formula = f"E_d[{metric.format(act=f'{act} at {place}')}]"
    if quantity.at is not Positions.ALL:
        letters.append(f"over {_AT[quantity.at]}")
    letters += [_CONTROLS[what.control][1]] if what.control else []
    letters += ["a computed anew"] if what.recomputed else []
    letters += [f"via {what.via}"] if what.via else []
    letters += ["F with its copies"] if what.copies else []
    letters += [f"mean of {what.draws} draws"] if what.draws > 1 else []
    letters += [quantity.dtype] if quantity.dtype else []
    return ", ".join([f"mean over s in S of {formula}" if what.per_site else formula, *letters])


_AT = {
    Positions.FIRST_THIRD: "the first third of each prompt's predictions",
    Positions.LAST: "each prompt's last prediction",
}


def _named(family: object) -> str:
    """A family in a sentence."""
    return "no source" if family is None else "every source" if family == ANY else f"the {family} source"


def _path(via: Reads) -> str:
    """The readers of a path, in a sentence."""
    return _where(via) if via.family == ANY else f"{_where(via)}, as part of {_named(via.family)},"


def _amounts(what: Ablation) -> dict[str, str]:
    """Return what stands for the names in a kind's words and formula."""
    found: dict[str, str] = {}
    if what.amount is not None:
        found |= {"amount": f"{what.amount:+g}", "count": f"{what.amount:g}", "times": f"{what.amount:g}"}
    if what.part is not None:
        found |= {"part": "states and weights" if what.part is Part.BOTH else what.part, "letters": _LETTERS[what.part]}
    return found


def _where(what: Ablation | RoutingSummary | Association | Reads) -> str:
    reader = "attention and MLP" if what.sublayer is None else _READERS[what.sublayer]
    if what.sublayer is Sublayer.FINAL:
        return reader
    stream = "" if isinstance(what, Association | Reads) or not what.stream else f" ({what.stream} stream)"
    layers = layers_text(what.layers)
    return f"{reader}{stream} in {layers if layers.startswith('layers') else f'{layers} layers'}"


def _of(role: AnyRole) -> str:
    return f"the {role.value} model" if isinstance(role, Role) else f"the model at {role}"
