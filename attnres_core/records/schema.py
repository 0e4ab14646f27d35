"""The types of a run's record, as they stand in JSON, and their version.

A number that could not be told (infinite, or not measured) is null. `reading.checked` holds a value from elsewhere
against these types; mypy holds everybody who writes or reads a record in this package against them.
"""

# No `from __future__ import annotations` here: with it, Python 3.11 does not see which keys are `NotRequired`.
from typing import Literal, NotRequired, TypedDict, get_args

VERSION = 3
"""Raised whenever a key comes, goes or changes its meaning: nobody reads a record of another version."""

VerdictWord = Literal["SUPPORTED", "REFUTED", "INCONCLUSIVE", "NOT APPLICABLE", "ERROR"]
"""A `Verdict`, or ERROR: the claim could not be decided at all."""
OperatorSign = Literal[">", "<", "abs<"]
"""An `Operator`."""
SplitName = Literal["exploration", "confirmation"]
"""A `Split`."""

VERDICTS: tuple[VerdictWord, ...] = get_args(VerdictWord)
"""The words, in the order in which they are counted."""


# A claim --------------------------------------------------------------------------------------------------------------


class StatementEntry(TypedDict):
    """One statement, with the limits it was decided by."""

    text: str
    column: str
    """The column that it is a statement about: the same text whichever way round it is written."""
    region: list[float | None]
    """The region where that column's mean is claimed to lie: low and high; null: unbounded."""
    op: OperatorSign
    estimate: float | None
    low: float | None
    high: float | None
    threshold: float
    unit: str
    p_value: float | None
    detectable: float | None
    """The smallest distance from the threshold that these documents find with 80 % power."""
    verdict: VerdictWord
    reason: str
    n: int
    """Documents."""
    standard_error: float | None
    exact: bool
    """Decided by value over all documents: no sampling inference."""
    confidence: float
    noise_floor: float | None
    unseen_share: float | None
    """Effects carried by a smaller share of prompts than this cannot be excluded."""
    sparse_share: float | None
    """For effects carried by a smaller share of prompts than this, the level is not kept."""
    methods: dict[str, list[float | None]]
    """The limits by each method: low and high."""


class KindEntry(TypedDict):
    """A claim's verdict under one kind of ablation."""

    kind: str
    verdict: VerdictWord
    estimate: float | None
    low: float | None
    high: float | None
    unit: str


class ExpectedEntry(TypedDict):
    """The verdict that this reference checkpoint is known to give."""

    verdict: VerdictWord
    reason: str


class EstimandEntry(TypedDict):
    """The quantities that a claim's statements relate, with one letter for each."""

    relations: list[str]
    terms: dict[str, str]


class ExcessEntry(TypedDict):
    """The cost of an ablation beyond the sum of its parts, with a 95 % t interval: exploratory."""

    whole: str
    parts: list[str]
    unit: str
    mean: float | None
    low: float | None
    high: float | None
    matched: list[float | None]
    """The same of matched pairs of the run, whose parts have comparable effects; empty: there were none."""


class StratumEntry(TypedDict):
    """The distribution of the deciding statement's form over the documents of a stratum."""

    stratum: str
    n: int
    mean: float | None
    values: list[float | None]
    """The documents', sorted; of many, evenly spaced quantiles."""


class ExampleEntry(TypedDict):
    """A prompt on which a claim's effect is largest or smallest."""

    prompt: str
    """Its id: a key of the record's `examples`."""
    effect: float | None
    trace: list[int] | None
    """The rise in loss of each next-token prediction, in thousandths of a nat."""


class ViolationEntry(TypedDict):
    """A prompt on which a claim does not hold."""

    statement: str
    token_ids: list[int]
    tokens: list[str]
    value: float | None
    wrong_sign: bool


class SearchEntry(TypedDict):
    """The result of a search for a prompt that violates the claim: exploratory, and no part of the verdict."""

    statements: list[str]
    prompts: str
    candidates: int
    forwards: int
    seed: int
    command: str
    unit: str
    closest: float | None
    found: ViolationEntry | None


class LayerEntry(TypedDict):
    """One of the single-site effects that a per-site ablation averages, with a 95 % t interval."""

    quantity: str
    site: str
    unit: str
    mean: float | None
    low: float | None
    high: float | None


class PathEntry(TypedDict):
    """A part of an effect in logits: what an ablation does through some reads alone, with a 95 % t interval."""

    whole: str
    """The quantity whose parts these are: the ablation that every later read sees."""
    part: Literal["total", "path", "rest"]
    """The whole, a path, or the whole less the claim's paths where these share no read."""
    label: str
    """The reads, as in `older \u2192 late attention`."""
    unit: str
    mean: float | None
    low: float | None
    high: float | None


class PermutationEntry(TypedDict):
    """The p-values of a permutation test: over all documents, and within strata alone."""

    quantity: str
    p: float | None
    p_within: float | None


class ClaimEntry(TypedDict):
    """A claim and what was decided about it."""

    node_id: str
    title: str
    group: str | None
    """The group that it is reported with; `control`: it checks the suite itself."""
    cites: str | None
    contradicts: list[str]
    control: bool
    verdict: VerdictWord
    expected: ExpectedEntry | None
    registration: str | None
    """Its standing, which its verdict rests on: `registered`, `post hoc`, `exploratory`, `quick` ..."""
    registration_note: str | None
    split: SplitName | None
    alpha: float | None
    p_value: float | None
    p_holm: float | None
    p_by: float | None
    """Adjusted over the registered set by Benjamini and Yekutieli, who bound the share of false findings."""
    p_max_t: float | None
    statement: str
    statements: list[StatementEntry]
    deciding: int | None
    """The index of the statement that is shown for it."""
    quantities: list[str]
    estimate: float | None
    interval: list[float | None] | None
    """Low and high."""
    threshold: float | None
    n: int | None
    under: list[KindEntry]
    chosen: dict[str, str]
    """The families that its picks came out as on the exploration split."""
    disagreement: str
    excesses: list[ExcessEntry]
    documents: int | None
    prompts: int | None
    prompt_set: NotRequired[str]
    """The prompt set that it is about, as it names it; empty: the run's."""
    kept_mass: float | None
    kept_mass_min: float | None
    beyond: NotRequired[float | None]
    """The largest of its ablations' shares of reads beyond clean ones: see `ColumnEntry`."""
    sites_touched: list[str]
    duplicates: list[str]
    no_ops: list[str]
    by_stratum: list[StratumEntry]
    estimand: EstimandEntry | None
    examples: list[ExampleEntry]
    counterexamples: list[SearchEntry]
    by_layer: list[LayerEntry]
    by_path: NotRequired[list[PathEntry]]
    """The parts of its effects in logits, where it names paths."""
    permutations: list[PermutationEntry]
    reason: str
    needed_prompts: int | None
    source: str
    """The test's own code; empty where it has none."""


# A run ----------------------------------------------------------------------------------------------------------------


class ModelEntry(TypedDict):
    """A checkpoint in one role."""

    name: str
    path: str
    repository: str | None
    commit: str | None
    weights_digest: str
    digest: str
    dialect: str
    num_layers: int
    num_blocks: int
    parameters: int
    recency_bias: float | None
    adapter: NotRequired[str]
    """What read it; absent: the library computes it."""
    sketch: NotRequired[str]
    """Of the trained model's weights: tells whether another record's are related (`statistics.sign_sketches`)."""


class RegistrationsEntry(TypedDict):
    """The lock of registered claims."""

    lock: str
    """Its digest; empty: there is none."""
    claims: int
    """The number of claims that it holds: the N of "k of N registered"."""
    withdrawn: NotRequired[int]
    """The number of claims that it held once and holds no more."""
    attestation: NotRequired[Literal["none", "self-attested", "committed", "anchored"]]
    """What stands behind the lock's date; see `registration.attestation`."""
    commit: NotRequired[str | None]
    """The commit that last changed the lock; null: it is not committed as it stands."""
    date: NotRequired[str | None]
    """The date of that commit, ISO 8601."""
    note: NotRequired[str]
    """The proof that makes it anchored, and whether that was checked; or why it is only self-attested."""


class PromptsEntry(TypedDict):
    """The prompt set, and how many of its prompts each split gave."""

    name: str
    digest: str
    window: int
    exploration: int
    confirmation: int


class SettingsEntry(TypedDict):
    """The settings of the run."""

    device: str
    dtype: str
    quick: bool
    sequential: bool
    alpha: float
    alpha_claim: float
    """The smallest share of alpha that a claim has."""
    resamples: int
    registrations: RegistrationsEntry
    prompts: PromptsEntry
    prompt_sets: NotRequired[dict[str, PromptsEntry]]
    """Those that single claims name, by that name."""


class EarlyEntry(TypedDict):
    """The forwards that deciding early saved; `shares` and `ended` by a look's number of documents."""

    text: str
    shares: dict[str, float]
    ended: dict[str, int]
    rows: int
    rows_run: int


class BegunRunEntry(TypedDict):
    """Everything that is known of the run itself before its claims are reported."""

    versions: dict[str, str]
    seed: int
    noise_floor: float | None
    early: EarlyEntry | None


class RunEntry(BegunRunEntry):
    """The run itself."""

    started: str
    """ISO 8601, UTC, in seconds."""
    wall_seconds: float
    command: str
    bundles_measured: int
    bundles_reused: int


class MeaningEntry(TypedDict):
    """A quantity in words and in symbols."""

    words: str
    symbols: str


class ExamplePrompt(TypedDict):
    """A prompt that claims show as an example."""

    document: str
    stratum: str
    tokens: list[str]


class MapCell(TypedDict):
    """A family at a site: its mass and, where it was measured, the effect of dropping it there alone."""

    site: str
    layer: int
    sublayer: str
    family: str
    mass: float | None
    uniform_mass: float | None
    delta_nll: NotRequired[float | None]
    delta_nll_low: NotRequired[float | None]
    delta_nll_high: NotRequired[float | None]
    kl: NotRequired[float | None]
    kept_mass: NotRequired[float | None]
    input_change: NotRequired[float | None]
    beyond: NotRequired[float | None]
    """The share of its reads beyond clean ones: see `ColumnEntry`."""
    duplicate: NotRequired[bool]
    n: int
    split: SplitName


class ColumnEntry(TypedDict):
    """A measured column: its mean over documents, with a 95 % t interval."""

    name: str
    role: str
    metric: str | None
    at: str | None
    dtype: str
    split: SplitName
    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    sites_touched: list[str]
    kept_mass: float | None
    kept_mass_min: float | None
    input_change: float | None
    beyond: NotRequired[float | None]
    """The share of its reads that lie farther from clean reads than 99 % of these do; null: not measured."""
    duplicates: list[str]
    no_ops: list[str]
    kind: str
    control: str | None
    runs: int
    per_site: bool
    via: NotRequired[str]
    """The reads through which alone it acts; left out where every later read sees it."""
    family: str | None
    sublayer: str | None
    layers: str
    mass: float | None
    """The mean depth weight on the family there; null where the column is no ablation of one family."""
    uniform: float | None


class RoutingEntry(TypedDict):
    """Mean depth weights, site by site."""

    sites: list[str]
    sources: list[list[str]]
    """The family of each source."""
    mass: list[list[float | None]]
    entropy: list[float | None]
    peak: list[float | None]


class _Measured(TypedDict):
    """Everything that is known of a run once its claims are decided."""

    schema: int
    question: str
    collected: int
    """Its claims, those included that could not be traced or were not reported."""
    models: dict[str, ModelEntry]
    """By role; `trained` is among them."""
    settings: SettingsEntry
    estimands: dict[str, MeaningEntry]
    """By quantity."""
    examples: dict[str, ExamplePrompt]
    """By the prompt's id."""
    maps: dict[str, list[MapCell]]
    """By role."""
    columns: list[ColumnEntry]
    routing: dict[str, RoutingEntry]
    """By role."""


class BegunRecord(_Measured):
    """A record before its claims are reported."""

    run: BegunRunEntry


class Record(_Measured):
    """A run's record."""

    run: RunEntry
    complete: bool
    """True if all its claims were reported."""
    counts: dict[VerdictWord, int]
    claims: list[ClaimEntry]
    """In order of node id."""
