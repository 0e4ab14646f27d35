"""Causal hypothesis tests for Attention-Residual language models: the whole public surface.

Importing this, and collecting claims, imports no torch: names are resolved when they are first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnres_core import plot as plot
    from attnres_core.claims.claim import NotSupported as NotSupported
    from attnres_core.claims.claim import claim as claim
    from attnres_core.claims.statements import ClaimError as ClaimError
    from attnres_core.claims.statements import Verdict as Verdict
    from attnres_core.engine.measuring import measure as measure
    from attnres_core.exploration.counterexample import search_counterexample as search_counterexample
    from attnres_core.exploration.prompt_kinds import PromptKind as PromptKind
    from attnres_core.exploration.prompt_kinds import any_tokens as any_tokens
    from attnres_core.exploration.prompt_kinds import excerpts as excerpts
    from attnres_core.exploration.prompt_kinds import texts as texts
    from attnres_core.judging.decisions import estimate as estimate
    from attnres_core.models.adapters.adapter import AdapterError as AdapterError
    from attnres_core.models.adapters.adapter import Asked as Asked
    from attnres_core.models.adapters.adapter import RoutingCall as RoutingCall
    from attnres_core.models.adapters.adapter import adapt as adapt
    from attnres_core.models.adapters.streams import StreamCall as StreamCall
    from attnres_core.models.adapters.streams import Streams as Streams
    from attnres_core.models.errors import UnsupportedCheckpoint as UnsupportedCheckpoint
    from attnres_core.models.loading import load_model as load_model
    from attnres_core.prompts import PromptSet as PromptSet
    from attnres_core.prompts import load_prompts as load_prompts
    from attnres_core.quantities.ablations import amplify as amplify
    from attnres_core.quantities.ablations import average as average
    from attnres_core.quantities.ablations import average_mixing as average_mixing
    from attnres_core.quantities.ablations import donor_gap as donor_gap
    from attnres_core.quantities.ablations import drop as drop
    from attnres_core.quantities.ablations import drop_stream as drop_stream
    from attnres_core.quantities.ablations import interchange as interchange
    from attnres_core.quantities.ablations import keep as keep
    from attnres_core.quantities.ablations import keep_top as keep_top
    from attnres_core.quantities.ablations import keep_wired as keep_wired
    from attnres_core.quantities.ablations import mean as mean
    from attnres_core.quantities.ablations import no_mixing as no_mixing
    from attnres_core.quantities.ablations import no_write as no_write
    from attnres_core.quantities.ablations import optimal as optimal
    from attnres_core.quantities.ablations import permute as permute
    from attnres_core.quantities.ablations import resample as resample
    from attnres_core.quantities.ablations import schedule as schedule
    from attnres_core.quantities.ablations import sharpen as sharpen
    from attnres_core.quantities.ablations import shuffle as shuffle
    from attnres_core.quantities.ablations import uniform as uniform
    from attnres_core.quantities.ablations import zero as zero
    from attnres_core.quantities.controls import matched_count as matched_count
    from attnres_core.quantities.controls import matched_mass as matched_mass
    from attnres_core.quantities.controls import other_sublayer as other_sublayer
    from attnres_core.quantities.controls import placebo as placebo
    from attnres_core.quantities.controls import random_sites as random_sites
    from attnres_core.quantities.controls import random_sources as random_sources
    from attnres_core.quantities.intervention import NotApplicable as NotApplicable
    from attnres_core.quantities.metrics import Metric
    from attnres_core.quantities.paths import reads as reads
    from attnres_core.quantities.summaries import closed_form_error as closed_form_error
    from attnres_core.quantities.summaries import entropy as entropy
    from attnres_core.quantities.summaries import least_causal as least_causal
    from attnres_core.quantities.summaries import loss as loss
    from attnres_core.quantities.summaries import mass as mass
    from attnres_core.quantities.summaries import mass_and_effect as mass_and_effect
    from attnres_core.quantities.summaries import most_causal as most_causal
    from attnres_core.quantities.summaries import most_massive as most_massive
    from attnres_core.quantities.summaries import peak as peak
    from attnres_core.quantities.summaries import sentence_accuracy as sentence_accuracy
    from attnres_core.quantities.summaries import spread as spread
    from attnres_core.quantities.summaries import streams_read as streams_read
    from attnres_core.quantities.summaries import summary_and_loss as summary_and_loss
    from attnres_core.quantities.summaries import turn as turn
    from attnres_core.quantities.summaries import turn_and_effect as turn_and_effect
    from attnres_core.quantities.summaries import uniform_mass as uniform_mass
    from attnres_core.quantities.vocabulary import ANY as ANY
    from attnres_core.quantities.vocabulary import NONRECENT as NONRECENT
    from attnres_core.quantities.vocabulary import Band, Family, Part, Positions, Role, Sublayer
    from attnres_core.quantities.vocabulary import at_step as at_step
    from attnres_core.report.loaded import LoadedRecord as LoadedRecord
    from attnres_core.report.loaded import load_record as load_record
    from attnres_core.shipped import reference as reference
    from attnres_core.shipped import reference_prompts as reference_prompts

    EMBEDDING, CURRENT, RECENT, OLDER = Family.EMBEDDING, Family.CURRENT, Family.RECENT, Family.OLDER
    NULL = Family.NULL
    ATTN, MLP, FINAL, ALL_SITES = Sublayer.ATTN, Sublayer.MLP, Sublayer.FINAL, Sublayer.ALL_SITES
    ALL_SUBLAYERS = Sublayer.ALL_SUBLAYERS
    STATES, WEIGHTS, BOTH = Part.STATES, Part.WEIGHTS, Part.BOTH
    EARLY, MID, LATE, ALL = Band.EARLY, Band.MID, Band.LATE, Band.ALL
    TRAINED, WRAPPED, STOCK, UNTRAINED = Role.TRAINED, Role.WRAPPED, Role.STOCK, Role.UNTRAINED
    BASE, GAINS = Role.BASE, Role.GAINS
    DELTA_NLL, KL = Metric.DELTA_NLL, Metric.KL
    LOGIT_DIFFERENCE, ANSWER_PROBABILITY = Metric.LOGIT_DIFFERENCE, Metric.ANSWER_PROBABILITY
    TOP1_AGREEMENT, DELTA_ENTROPY = Metric.TOP1_AGREEMENT, Metric.DELTA_ENTROPY
    SENTENCE_LEAD, SENTENCE_ACCURACY = Metric.SENTENCE_LEAD, Metric.SENTENCE_ACCURACY
    FIRST_THIRD, LAST = Positions.FIRST_THIRD, Positions.LAST

_HOMES = {
    "claims.claim": ("NotSupported", "claim"),
    "exploration.counterexample": ("search_counterexample",),
    "judging.decisions": ("estimate",),
    "quantities.intervention": ("NotApplicable",),
    "models.errors": ("UnsupportedCheckpoint",),
    "models.adapters.adapter": ("AdapterError", "Asked", "RoutingCall", "adapt"),
    "models.adapters.streams": ("StreamCall", "Streams"),
    "models.loading": ("load_model",),
    "exploration.prompt_kinds": ("PromptKind", "any_tokens", "excerpts", "texts"),
    "prompts": ("PromptSet", "load_prompts"),
    "report.loaded": ("LoadedRecord", "load_record"),
    "shipped": ("reference", "reference_prompts"),
    "claims.statements": ("ClaimError", "Verdict"),
    "engine.measuring": ("measure",),
    "quantities.ablations": (
        *("drop", "zero", "mean", "resample", "keep", "amplify", "uniform", "average", "shuffle", "schedule"),
        *("optimal", "keep_top", "keep_wired", "sharpen", "permute", "interchange", "donor_gap"),
        *("drop_stream", "no_mixing", "average_mixing", "no_write"),
    ),
    "quantities.controls": (
        *("matched_mass", "matched_count", "random_sites", "random_sources", "other_sublayer", "placebo"),
    ),
    "quantities.paths": ("reads",),
    "quantities.summaries": (
        *("mass", "uniform_mass", "entropy", "peak", "spread", "closed_form_error", "mass_and_effect"),
        *("summary_and_loss", "turn", "turn_and_effect", "streams_read", "sentence_accuracy", "loss"),
        *("most_massive", "most_causal", "least_causal"),
    ),
    "quantities.vocabulary": ("ANY", "NONRECENT", "at_step"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

_CHOICES = {
    "quantities.vocabulary.Family": ("EMBEDDING", "CURRENT", "RECENT", "OLDER", "NULL"),
    "quantities.vocabulary.Sublayer": ("ATTN", "MLP", "FINAL", "ALL_SITES", "ALL_SUBLAYERS"),
    "quantities.vocabulary.Part": ("STATES", "WEIGHTS", "BOTH"),
    "quantities.vocabulary.Band": ("EARLY", "MID", "LATE", "ALL"),
    "quantities.vocabulary.Role": ("TRAINED", "WRAPPED", "STOCK", "UNTRAINED", "BASE", "GAINS"),
    "quantities.metrics.Metric": (
        *("DELTA_NLL", "KL", "LOGIT_DIFFERENCE", "ANSWER_PROBABILITY", "TOP1_AGREEMENT", "DELTA_ENTROPY"),
        *("SENTENCE_LEAD", "SENTENCE_ACCURACY"),
    ),
    "quantities.vocabulary.Positions": ("FIRST_THIRD", "LAST"),
}
_MEMBER_OF = {name: choice for choice, names in _CHOICES.items() for name in names}
"""The enum that has a member of this name."""

_MODULES = ("plot",)
"""Public modules; each is imported when it is first used, too."""

__version__ = "0.1.0"
__all__ = [*_MEMBER_OF, *_HOME]


def __getattr__(name: str) -> Any:
    """Import what a public name stands for when the name is first used."""
    if name in _MEMBER_OF:
        module, _, choice = _MEMBER_OF[name].rpartition(".")
        value = getattr(getattr(import_module(f"{__name__}.{module}"), choice), name)
    elif name in _HOME:
        value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*__all__, *_MODULES])
