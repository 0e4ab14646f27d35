"""A made-up but realistic record of one run, for the tests of the report."""

# ruff: noqa: E501 - a table of claims reads better one to a line

from __future__ import annotations

import math
import random
from typing import Any, Literal, cast

from attnres_core.records.schema import (
    VERDICTS,
    VERSION,
    ClaimEntry,
    ColumnEntry,
    MapCell,
    ModelEntry,
    OperatorSign,
    Record,
    RoutingEntry,
    StatementEntry,
    VerdictWord,
)

LAYERS, BLOCKS = 12, 4
BANDS = {"early": range(0, 4), "mid": range(4, 8), "late": range(8, 12)}
PUBLISHED = "arXiv:2606.13168"
PATHWAYS = {
    "Embedding source is necessary for early MLP": "drop(embedding, mlp, early) on trained [delta_nll]",
    "Current state is necessary for early attention": "drop(current, attn, early) on trained [delta_nll]",
    "Embedding has no role in late attention": "drop(embedding, attn, late) on trained [delta_nll]",
    "Recent block is necessary for late MLP": "drop(recent, mlp, late) on trained [delta_nll]",
}
"""The claims whose statement is about a measured column alone."""


def statement(
    text: str,
    op: OperatorSign,
    estimate: float,
    half: float,
    threshold: float,
    *,
    unit: str = "nats/token",
    **given: Any,
) -> StatementEntry:
    """One statement, judged by its own interval."""
    low, high = given.get("low", estimate - half), given.get("high", estimate + half)
    floor, ceiling = (-math.inf if low is None else low), (math.inf if high is None else high)
    if op == "abs<":
        supported, refuted = (
            -threshold < floor and ceiling < threshold,
            floor > threshold or ceiling < -threshold,
        )
    elif op == ">":
        supported, refuted = floor > threshold, ceiling < threshold
    else:
        supported, refuted = ceiling < threshold, floor > threshold
    verdict: VerdictWord = "SUPPORTED" if supported else "REFUTED" if refuted else "INCONCLUSIVE"
    return {
        "text": text,
        "column": f"{text} with the mean {estimate}",
        "region": [None if op == "<" else -threshold if op == "abs<" else threshold, None if op == ">" else threshold],
        "op": op,
        "estimate": estimate,
        "low": low,
        "high": high,
        "threshold": threshold,
        "unit": unit,
        "verdict": verdict,
        "reason": "the interval crosses the threshold" if verdict == "INCONCLUSIVE" else "",
        "n": 256,
        "exact": half == 0,
        "confidence": 1 - 2 * 0.00078,
        "p_value": 0.0004,
        "detectable": 0.01,
        "standard_error": None if half == 0 else half / 3,
        "noise_floor": 0.0,
        "unseen_share": None if half == 0 else 0.028,
        "sparse_share": None if half == 0 else 0.078,
        "methods": {"bootstrap-t": [low, high]} if half else {},
    }


def claim(title: str, *statements: StatementEntry, group: str | None, **given: Any) -> ClaimEntry:
    """One claim whose verdict follows from its statements; none makes it NOT APPLICABLE."""
    verdicts = [item["verdict"] for item in statements]
    verdict: VerdictWord = "NOT APPLICABLE"
    if statements:
        verdict = "REFUTED" if "REFUTED" in verdicts else "INCONCLUSIVE" if "INCONCLUSIVE" in verdicts else "SUPPORTED"
    deciding = next((place for place, word in enumerate(verdicts) if word == verdict), None)
    first = None if deciding is None else statements[deciding]
    reasons = {
        "SUPPORTED": "every statement's limit clears its threshold",
        "REFUTED": "the opposite limit clears the threshold",
        "INCONCLUSIVE": "the interval crosses the threshold; about 1,150 prompts would decide it",
        "NOT APPLICABLE": "no site in the early layers has an older source with 4 blocks",
    }
    entry: ClaimEntry = {
        "node_id": "hypotheses/test_motifs.py::test_" + title.lower().replace(" ", "_"),
        "title": title,
        "group": group,
        "cites": PUBLISHED,
        "contradicts": [],
        "registration": "post hoc" if "late" in title else "registered",
        "registration_note": "confirmation columns were measured before" if "late" in title else "",
        "split": "confirmation",
        "alpha": 0.00078,
        "p_value": 0.0004,
        "p_holm": 0.02,
        "p_by": 0.011,
        "p_max_t": 0.018,
        "control": False,
        "verdict": verdict,
        "expected": None,
        "statement": " and ".join(item["text"] for item in statements),
        "statements": list(statements),
        "deciding": deciding,
        "estimate": first and first["estimate"],
        "interval": None if first is None else [first["low"], first["high"]],
        "threshold": first and first["threshold"],
        "n": first and first["n"],
        "sites_touched": [f"{layer}.mlp" for layer in range(4)] if statements else [],
        "duplicates": ["3.attn"] if statements else [],
        "no_ops": ["0.attn"] if statements else [],
        "quantities": ["drop(embedding, mlp, early) on trained [delta_nll]"] if statements else [],
        "under": [
            {"kind": "drop", "verdict": verdict, "estimate": 0.2, "low": 0.1, "high": 0.3, "unit": "nats/token"},
            {
                "kind": "resample",
                "verdict": "REFUTED",
                "estimate": -0.2,
                "low": -0.3,
                "high": None,
                "unit": "nats/token",
            },
        ]
        if len(statements) > 1
        else [],
        "chosen": {"most_causal(mlp)": "current"} if len(statements) > 1 else {},
        "disagreement": "the kinds of ablation disagree: <b>drop</b>" if len(statements) > 1 else "",
        "excesses": [
            {
                "whole": "drop(recent and <i>older</i>)",
                "parts": ["drop(recent)", "drop(<i>older</i>)"],
                "unit": "nats/token",
                "mean": 0.31,
                "low": 0.25,
                "high": 0.37,
                "matched": [0.02, -0.01],
            }
        ]
        if len(statements) > 1
        else [],
        "by_stratum": [
            {"stratum": "numpy", "n": 200, "mean": 1.7, "values": [1.1, 1.5, 2.4]},
            {"stratum": "<b>scipy</b>", "n": 3, "mean": 1.9, "values": [1.8, 1.9, 2.0]},
        ]
        if statements
        else [],
        "estimand": {
            "relations": ["A > 0.02" for _ in statements],
            "terms": {"A": "drop(embedding, mlp, early) on trained [delta_nll]"},
        }
        if statements
        else None,
        "examples": [
            {"prompt": "p0", "effect": 2.5, "trace": [120, -40, 2400, 3]},
            {"prompt": "p1", "effect": 0.5, "trace": None},
        ]
        if statements
        else [],
        "counterexamples": [
            {
                "statements": ["late > 0", "<b>mid</b> > 0"],
                "prompts": "excerpts of <b>docstrings",
                "candidates": 77,
                "forwards": 1540,
                "seed": 0,
                "command": "python -m attnres_core counterexample a 'b.py::c'",
                "unit": "nats/token",
                "closest": 0.151,
                "found": {
                    "statement": "late > 0",
                    "token_ids": [66, 4040],
                    "tokens": ["<i>b", "\u202estract", ""],
                    "value": -0.1513,
                    "wrong_sign": True,
                },
            },
            {
                "statements": ["late > 0.02"],
                "prompts": "texts of from_regex('a')",
                "candidates": 1000,
                "forwards": 20000,
                "seed": 0,
                "command": "python -m attnres_core counterexample a 'b.py::c' --matching a",
                "unit": "nats/token",
                "closest": -0.25,
                "found": None,
            },
        ]
        if len(statements) > 1
        else [],
        "documents": 256 if statements else None,
        "prompts": 300 if statements else None,
        "kept_mass": 0.4 if statements else None,
        "kept_mass_min": 0.01 if statements else None,
        "beyond": 0.12 if statements else None,
        "source": f"def test_{len(title)}(effect):\n    assert effect > 0.02  # <i>\n",
        "by_layer": [
            {
                "quantity": "drop(embedding, mlp, early, per site)",
                "site": "0.mlp",
                "unit": "nats/token",
                "mean": 0.21,
                "low": 0.19,
                "high": 0.23,
            }
        ]
        if len(statements) > 1
        else [],
        "by_path": [
            {
                "whole": "interchange(embedding, mlp, early, states) on trained [logit_difference]",
                "part": part,
                "label": label,
                "unit": "logits",
                "mean": mean,
                "low": mean - 0.3,
                "high": mean + 0.3,
            }
            for part, label, mean in _PARTS
        ]
        if len(statements) > 1
        else [],
        "permutations": [],
        "reason": reasons[verdict],
        "needed_prompts": 1150 if verdict == "INCONCLUSIVE" else None,
    }
    return cast(ClaimEntry, {**entry, **given})


_PARTS: list[tuple[Literal["total", "path", "rest"], str, float]] = [
    ("total", "every later read", 9.2),
    ("path", "early attention", 0.1),
    ("path", "recent & older \N{RIGHTWARDS ARROW} late attention", 6.4),
    ("path", "read-out", 0.0),
    ("rest", "the rest", -0.1 - 6.4 + 9.2),
]


def _claims() -> list[ClaimEntry]:
    one, two, three, four = (
        "Motif 1: embedding",
        "Motif 2: current",
        "Motif 3: older blocks",
        "Mass is not effect",
    )
    control, wrapped, five = "Controls", "Wrapped baseline", "Shape of routing"
    share, error = {"unit": "depth weight"}, {"unit": "max depth-weight error"}
    known = {"verdict": "REFUTED", "reason": "the 124M study reports the opposite at this size"}
    return [
        claim("Embedding source is necessary for early MLP", statement("effect > 0.02", ">", 1.83, 0.11, 0.02), group=one),
        claim("Embedding pathway is local to early layers", statement("early - late > 0.02", ">", 1.79, 0.12, 0.02), group=one),
        claim("Embedding feeds early MLP more than early attention", statement("mlp - attn > 0.02", ">", 0.31, 0.05, 0.02), group=one),
        claim("Embedding has no role in late attention", statement("abs(effect) < 0.01", "abs<", 0.0031, 0.0021, 0.01), group=one, contradicts=["test_motifs.py::test_embedding_has_more_mass_before_attention_than_mlp"]),
        claim("Embedding has no role in late MLP", statement("abs(effect) < 0.01", "abs<", 0.0118, 0.0034, 0.01), group=one),
        claim("Current state is necessary for early attention", statement("effect > 0.02", ">", 0.412, 0.06, 0.02), group=two),
        claim("Current state is necessary for early MLP", statement("effect > 0.02", ">", 3.97, 0.3, 0.02), group=two),
        claim(
            "Current state matters more early than late, in both sublayers",
            statement("attn early - attn late > 0.02", ">", 0.204, 0.07, 0.02),
            statement("mlp early - mlp late > 0.02", ">", -0.61, 0.21, 0.02), group=two, expected=known,
        ),
        claim("Current state is necessary in the middle", statement("effect > 0.02", ">", 0.027, 0.012, 0.02), group=two),
        claim("Older blocks are necessary for late attention", statement("effect > 0.02", ">", 0.0643, 0.013, 0.02), group=three),
        claim("Older blocks matter most in late attention", statement("late - mid > 0", ">", 0.011, 0.008, 0), group=three),
        claim("Older blocks have no role in mid MLP", statement("abs(effect) < 0.01", "abs<", 0.0009, 0.0011, 0.01), group=three),
        claim("Older blocks feed early attention", group=three),
        claim("Older blocks feed early MLP", group=three),
        claim("Recent block is necessary for late MLP", statement("effect > 0.02", ">", 0.0083, 0.0019, 0.02), group=three),
        claim("Most massive family is not the most causal in early attention", statement("causal - massive > 0.02", ">", 0.36, 0.07, 0.02), group=four),
        claim("Most massive family is not the most causal in late MLP", statement("causal - massive > 0.02", ">", -0.19, 0.04, 0.02), group=four, expected=known),
        claim(
            "Some family carries mass and has no role",
            statement("mass > 0.1", ">", 0.231, 0.004, 0.1, **share),
            statement("abs(effect) < 0.01", "abs<", 0.0042, 0.0037, 0.01), group=four,
        ),
        claim("Structure is absent from the wrapped baseline", statement("trained - wrapped > 0.02", ">", 1.81, 0.14, 0.02), group=control, control=True),
        claim("Dropping current breaks the wrapped model", statement("effect > 1", ">", 4.92, 0.28, 1), group=control, control=True),
        claim("A sham moves nothing", statement("abs(effect) < 0.001", "abs<", 0.0, 0.0, 0.001), group=control, control=True),
        claim("Dropping recent from wrapped changes nothing", statement("abs(effect) < 0.01", "abs<", 0.00004, 0.00003, 0.01), group=control, control=True),
        claim("Wrapped weights do not depend on content", statement("spread < 1e-6", "<", 2.98e-8, 0, 1e-6, **error), group=wrapped, cites=None),
        claim("Wrapped weights follow the closed form", statement("error < 1e-6", "<", 5.96e-8, 0, 1e-6, **error), group=wrapped),
        claim("Wrapped mass sits on the current source", statement("mass > 0.5", ">", 0.9998, 0, 0.5, **share), group=wrapped),
        claim("Embedding keeps its mass in late attention", statement("mass - uniform > 0.05", ">", 0.122, 0.006, 0.05, **share), group=five),
        claim("Embedding has more mass before attention than MLP", statement("attn - mlp > 0.02", ">", -0.034, 0.009, 0.02, **share), group=five),
        claim("Peak weight collapses with depth", statement("late < 0.4", "<", 0.38, 0.031, 0.4, **share), group=five),
        claim("Pre-MLP routing is sharper than pre-attention", statement("attn - mlp > 0", ">", 0.143, 0.02, 0, unit="nats"), group=five),
        claim("Routing entropy stays under the uniform null", statement("entropy - uniform < 0", "<", -0.41, 0.03, 0, unit="nats", low=None), group=five),
        claim("Routing summaries carry a stable calibration signal", statement("effect > 0.02", ">", 0.004, 0.9, 0.02, low=None, high=None), group=None),
    ]  # fmt: skip


def _sources(layer: int) -> list[str]:
    completed = layer // 3
    older = ["older"] * max(0, completed - 1)
    return ["embedding", *older, *(["recent"] if completed else []), "current"]


def _routing(rng: random.Random, bias: float | None) -> RoutingEntry:
    sites = [(layer, sublayer) for layer in range(LAYERS) for sublayer in ("attn", "mlp")]
    masses = []
    for layer, _ in sites:
        logits = [rng.gauss(0, 1.0) if bias is None else 0.0 for _ in _sources(layer)]
        logits[-1] += 0.8 if bias is None else bias
        total = sum(map(math.exp, logits))
        masses.append([math.exp(logit) / total for logit in logits])
    return {
        "sites": [f"{layer}.{sublayer}" for layer, sublayer in sites],
        "sources": [_sources(layer) for layer, _ in sites],
        "mass": [list(weights) for weights in masses],
        "entropy": [-sum(p * math.log(p) for p in mass) for mass in masses],
        "peak": [max(mass) for mass in masses],
    }


def _columns(rng: random.Random) -> list[ColumnEntry]:
    columns = list[ColumnEntry]()
    for role in ("trained", "wrapped"):
        for sublayer in ("attn", "mlp"):
            for band, layers in BANDS.items():
                for family in ("embedding", "current", "recent", "older"):
                    if family == "older" and band == "early":
                        continue
                    trained = role == "trained"
                    mass = rng.uniform(0.02, 0.55) if trained else 0.9998 if family == "current" else 0.0001
                    mean = 10 ** rng.uniform(-3.3, 0.5) * rng.choice([1, 1, 1, -0.05])
                    if not trained:
                        mean = rng.uniform(2, 5) if family == "current" else rng.gauss(0, 0.0001)
                    half = 0.15 * abs(mean) + 0.001
                    columns.append(
                        {
                            "name": f"drop({family}, {sublayer}, {band}) on {role} [delta_nll]", "role": role,
                            "metric": "delta_nll", "split": "confirmation", "n": 256, "mean": mean, "sd": half * 5,
                            "low": mean - half, "high": mean + half,
                            "sites_touched": [f"{layer}.{sublayer}" for layer in layers], "kept_mass": 1 - mass,
                            "kept_mass_min": 0.5 * (1 - mass), "input_change": 0.31, "beyond": 0.12,
                            "duplicates": ["3.attn"] if (family, sublayer, band) == ("recent", "attn", "early") else [],
                            "no_ops": [], "per_site": False, "control": None, "at": None, "dtype": "float32", "runs": 1,
                            "kind": "drop", "family": family, "sublayer": sublayer, "layers": band, "mass": mass, "uniform": 0.25,
                        }
                    )  # fmt: skip
    return columns


def _map() -> list[MapCell]:
    """Every family at every site, with made-up numbers."""
    rng = random.Random(11)
    rows = list[MapCell]()
    for layer in range(LAYERS):
        for sublayer in ("attn", "mlp"):
            for family in ("embedding", "older", "recent", "current"):
                effect = rng.lognormvariate(-5, 2) * (1 if rng.random() < 0.8 else -1)
                rows.append(
                    {
                        "site": f"{layer}.{sublayer}", "layer": layer, "sublayer": sublayer, "family": family,
                        "mass": rng.random(), "uniform_mass": 0.25, "delta_nll": effect, "kl": abs(effect),
                        "delta_nll_low": effect - 0.01, "delta_nll_high": effect + 0.01, "kept_mass": 0.5,
                        "input_change": 1.0, "duplicate": layer % 4 == 0, "n": 256, "split": "exploration",
                    }
                )  # fmt: skip
    return rows


def _mass_alone(cell: MapCell) -> MapCell:
    """A cell whose effect was not measured."""
    return {
        "site": cell["site"], "layer": cell["layer"], "sublayer": cell["sublayer"], "family": cell["family"],
        "mass": cell["mass"], "uniform_mass": cell["uniform_mass"], "n": cell["n"], "split": cell["split"],
    }  # fmt: skip


def _model(name: str, path: str, digest: str, dialect: str, recency_bias: float | None) -> ModelEntry:
    return {
        "name": name, "path": path, "repository": None, "commit": None, "digest": digest * 16,
        "weights_digest": digest[::-1] * 16, "dialect": dialect, "num_layers": LAYERS, "num_blocks": BLOCKS,
        "parameters": 2_890_000, "recency_bias": recency_bias,
    }  # fmt: skip


def sample_record() -> Record:
    """A complete run on a 12-layer checkpoint and its wrapped baseline."""
    rng = random.Random(7)
    claims = _claims()
    for entry in claims:
        for item in entry["statements"]:
            item["column"] = PATHWAYS.get(entry["title"], item["column"])
    return {
        "schema": VERSION, "complete": True, "collected": len(claims), "question": "Which routing pathways are causal in this checkpoint?",
        "run": {
            "started": "2026-11-22T17:40:00+00:00", "wall_seconds": 371.4,
            "command": "pytest hypotheses/ -n 4 --attnres-trained fixtures/reference --attnres-vanilla fixtures/vanilla",
            "versions": {"attnres-core": "0.1.0", "torch": "2.9.1", "transformers": "5.2.0", "pytest": "9.2.0"},
            "seed": 20261122, "bundles_measured": 96, "bundles_reused": 32, "noise_floor": 3.8e-6,
            "early": {"text": "verdicts by documents: 9 at 64", "shares": {"64": 0.25, "256": 0.75}, "ended": {"64": 9}, "rows": 9, "rows_run": 5},
        },
        "models": {
            "trained": _model("attnres-tiny-12L", "fixtures/reference", "9f1c", "open_block", None),
            "wrapped": _model("vanilla-tiny-12L", "fixtures/vanilla", "04be", "wrapped", 10.0),
        },
        "maps": {"trained": _map(), "wrapped": list(map(_mass_alone, _map()))},
        "estimands": {
            "drop(embedding, mlp, early) on trained [delta_nll]": {
                "words": "the mean rise in loss when <b>F</b> is masked",
                "symbols": "E_d[L(x_d)]",
            }
        },
        "examples": {
            "p0": {"document": "numpy:sum", "stratum": "numpy", "tokens": ["Re", "turn", " <b>the", " sum", "</script>"]},
            "p1": {"document": "scipy:<i>norm</i>", "stratum": "scipy", "tokens": ["\u202eright", "\x00null", "x" * 61]},
        },
        "settings": {
            "device": "cpu", "dtype": "float32", "quick": False, "sequential": False, "alpha": 0.05, "alpha_claim": 0.00078, "resamples": 255999,
            "registrations": {
                "lock": "10cc" * 16, "claims": len(claims), "attestation": "committed", "commit": "c0ffee" * 6, "date": "2026-11-23T10:00:00+00:00", "note": "",
            },
            "prompts": {"name": "tinystories-held-out", "digest": "77aa" * 16, "window": 64, "confirmation": 256, "exploration": 256},
        },
        "counts": {word: sum(item["verdict"] == word for item in claims) for word in VERDICTS},
        "claims": claims, "columns": _columns(rng),
        "routing": {
            "trained": _routing(rng, None), "wrapped": _routing(rng, 10.0), "untrained": _routing(rng, 0.0),
        },
    }  # fmt: skip
