"""What a statement is about, in words and in symbols.

Symbols: d a document, x_d its prompt, L the mean next-token loss, s_i and a_i the sources and depth weights of a site,
z_i the logits behind the weights, F the ablated family, do(...) what the intervention sets; E_d is the mean over the
documents that prompts like these are drawn from.
"""

from __future__ import annotations

from typing import Any

from attnres_core.estimates import Statement
from attnres_core.quantities import Ablation, Association, Quantity, RoutingSummary
from attnres_core.statistics import Operator
from attnres_core.vocabulary import (
    AnyRole,
    Control,
    Kind,
    Metric,
    Positions,
    Role,
    Statistic,
    Sublayer,
    Summary,
    layers_text,
)

_ACTS = {
    Kind.DROP: ("{f} is masked and the rest of the weights scaled up to one", "a_F ← 0, a ← a / Σa"),
    Kind.ZERO: ("zero stands in the place of {f}, the weights kept", "s_F ← 0"),
    Kind.MEAN: ("its mean over the reference prompts stands in the place of {f}", "s_F ← mean of s_F"),
    Kind.RESAMPLE: ("that of another prompt stands in the place of {f}", "s_F ← s_F of another prompt"),
    Kind.KEEP: ("everything but {f} is masked", "a_i ← 0 for i not in F, a ← a / Σa"),
    Kind.AMPLIFY: ("{amount} is added to the logits of {f}", "z_F ← z_F {amount}"),
    Kind.UNIFORM: ("every source gets the same weight", "a_i ← 1/n"),
    Kind.AVERAGE: ("the weights are their mean over the reference prompts' tokens", "a ← mean of a"),
    Kind.SHUFFLE: ("the weights are those of a random token of the reference prompts", "a ← a of another token"),
    Kind.KEEP_TOP: (
        "only each token's {count} largest weights are kept, scaled up to one",
        "a_i ← 0 beyond the {count} largest, a ← a / Σa",
    ),
    Kind.SCHEDULE: ("the weights are the recency schedule's", "a_i ∝ exp({amount} [i is current])"),
}
_CONTROLS = {
    Control.MATCHED_MASS: "other sources of the same mass, token by token, stand for {f}",
    Control.MATCHED_COUNT: "as many other sources, drawn at random, stand for {f}",
    Control.RANDOM_SITES: "as many other sites, drawn at random, stand for these",
}
_METRICS = {
    Metric.DELTA_NLL: ("the mean rise in next-token loss, nats per token,", "L(x_d | do({act})) − L(x_d)"),
    Metric.KL: (
        "the mean KL divergence from the clean predictions, nats per token,",
        "KL(p(x_d) ‖ p(x_d | do({act})))",
    ),
    Metric.LOGIT_DIFFERENCE: (
        "the mean loss of the answer's lead over its foil, in logits,",
        "lead(x_d) − lead(x_d | do({act}))",
    ),
    Metric.ANSWER_PROBABILITY: (
        "the mean loss of the answer's probability",
        "p(answer | x_d) − p(answer | x_d, do({act}))",
    ),
}
_SUMMARIES = {
    Summary.MASS: ("the mean depth weight on {f}", "E_d[Σ a_i, i in F]"),
    Summary.UNIFORM_MASS: ("the depth weight on {f} if all sources had the same", "E_d[Σ 1/n, i in F]"),
    Summary.ENTROPY: ("the mean entropy of the depth weights, nats,", "E_d[−Σ a_i ln a_i]"),
    Summary.PEAK: ("the mean of the largest depth weight", "E_d[max a_i]"),
    Summary.SPREAD: ("the largest distance of any depth weight from its average", "max |a_i − mean of a_i|"),
    Summary.CLOSED_FORM_ERROR: (
        "the largest distance of any depth weight from the recency schedule",
        "max |a_i − schedule_i|",
    ),
}
_STATISTICS = {
    Statistic.SLOPE: "the least-squares slope of effect on mass",
    Statistic.PEARSON: "the linear correlation of mass and effect",
    Statistic.SPEARMAN: "the rank correlation of mass and effect",
    Statistic.KENDALL: "Kendall's tau of mass and effect",
}
_RELATIONS = {Operator.ABOVE: "{form} > {t}", Operator.BELOW: "{form} < {t}", Operator.WITHIN: "|{form}| < {t}"}
_READERS = {Sublayer.ATTN: "attention", Sublayer.MLP: "MLP", Sublayer.FINAL: "the read-out"}


def estimand(statement: Statement) -> dict[str, Any]:
    """A statement's relation in letters, and what each letter stands for.

    Returns:
        `{"relation": "A - B > 0.02", "terms": [{"name": "A", "words": ..., "symbols": ...}, ...]}`
    """
    form, names = "", [chr(ord("A") + index) for index in range(len(statement.form.terms))]
    for name, (_, coefficient) in zip(names, statement.form.terms, strict=True):
        size = "" if abs(coefficient) == 1 else f"{abs(coefficient):g} "
        sign = ("− " if coefficient < 0 else "+ ") if form else ("−" if coefficient < 0 else "")
        form += f"{' ' if form else ''}{sign}{size}{name}"
    terms = zip(names, statement.form.terms, strict=True)
    return {
        "relation": _RELATIONS[statement.operator].format(form=form, t=f"{statement.threshold:g}"),
        "terms": [
            {"name": name, "words": words(quantity), "symbols": symbols(quantity)} for name, (quantity, _) in terms
        ],
    }


def words(quantity: Quantity) -> str:
    """One quantity as a clause of English."""
    what = quantity.what
    family, model = f"the {what.family} source", _of(quantity.role)
    if isinstance(what, Association):
        return f"{_STATISTICS[what.kind]} over every family dropped at every site of {_where(what)}, in {model}"
    if isinstance(what, RoutingSummary):
        return f"{_SUMMARIES[what.kind][0].format(f=family)} at {_where(what)}, in {model}"
    assert quantity.metric is not None, "an effect has a metric"
    act = _ACTS[Kind(what.kind)][0].format(f=family, **_amounts(what))
    notes = [_CONTROLS[what.control].format(f=family)] if what.control else []
    notes += ["the weights computed anew"] if what.recomputed else []
    notes += ["identical tensors taken with it"] if what.copies else []
    notes += [f"averaged over {what.draws} random draws"] if what.draws > 1 else []
    notes += ["one layer at a time, averaged over the layers"] if what.per_site else []
    notes += [f"over {_AT[quantity.at]}"] if quantity.at is not Positions.ALL else []
    tail = "".join(f"; {note}" for note in notes)
    return f"{_METRICS[quantity.metric][0]} when {act} in what {_where(what)} reads, in {model}{tail}"


_AT = {
    Positions.FIRST_THIRD: "the first third of each prompt's predictions",
    Positions.LAST: "each prompt's last prediction",
}


def symbols(quantity: Quantity) -> str:
    """One quantity as a formula."""
    what = quantity.what
    family = f", F = {what.family}" if what.family is not None else ""
    if isinstance(what, Association):
        return f"{what.kind}(E_d[a_F], E_d[L(x_d | do(a_F ← 0)) − L(x_d)]) over cells (site, F)"
    if isinstance(what, RoutingSummary):
        return f"{_SUMMARIES[what.kind][1]}{family}"
    assert quantity.metric is not None, "an effect has a metric"
    act = _ACTS[Kind(what.kind)][1].format(**_amounts(what))
    return f"E_d[{_METRICS[quantity.metric][1].format(act=act)}]{family}"


def _amounts(what: Ablation) -> dict[str, str]:
    return {} if what.amount is None else {"amount": f"{what.amount:+g}", "count": f"{what.amount:g}"}


def _where(what: Ablation | RoutingSummary | Association) -> str:
    reader = "attention and MLP" if what.sublayer is None else _READERS[what.sublayer]
    if what.sublayer is Sublayer.FINAL:
        return reader
    stream = f" ({what.stream} stream)" if isinstance(what, Ablation) and what.stream else ""
    layers = layers_text(what.layers)
    return f"{reader}{stream} in {layers if layers.startswith('layers') else f'{layers} layers'}"


def _of(role: AnyRole) -> str:
    return f"the {role.value} model" if isinstance(role, Role) else f"the model at {role}"
