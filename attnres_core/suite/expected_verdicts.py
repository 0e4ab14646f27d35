"""Expected verdicts: what a reference checkpoint is known to give, applied only when all that matters is equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attnres_core.claims.claim import Claim, claim_key
from attnres_core.claims.statements import Verdict
from attnres_core.files import atomic
from attnres_core.judging.outcomes import Outcome
from attnres_core.judging.stored_decisions import JUDGE_VERSION
from attnres_core.models.checkpoints.checkpoint import earlier_step
from attnres_core.planning.material import NUMERICS_VERSION, tokenizer_digest
from attnres_core.prompts import WINDOW
from attnres_core.quantities.vocabulary import Role
from attnres_core.statistics.intervals import SEED
from attnres_core.suite.run_prompts import OWN
from attnres_core.suite.suite import Suite

FILE = "expected_verdicts.json"
"""Its name, inside the trained checkpoint's folder."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A known verdict, and why it is not SUPPORTED."""

    verdict: Verdict
    reason: str


def conditions(suite: Suite) -> dict[str, object]:
    """Everything beside a claim's own text that its verdict depends on."""
    inputs = suite.inputs
    named = {name: read.whole.digest for name, read in inputs.sets.items() if name != OWN}
    tokenizers = {role: tokenizer_digest(inputs.checkpoints[role]) for role in (Role.TRAINED, Role.WRAPPED)}
    return {
        "trained": inputs.checkpoints[Role.TRAINED].digest,
        "wrapped": inputs.checkpoints[Role.WRAPPED].digest,
        "kept_steps": {step.value: earlier_step(inputs.trained, f).digest for step, f in inputs.kept.items()},
        "tokenizers": {role.value: digest for role, digest in tokenizers.items()},
        "prompts": inputs.prompt_set.digest,
        "prompts_per_split": {split.value: len(part) for split, part in inputs.prompts.items()},
        **({"prompt_sets": named} if named else {}),
        "window": WINDOW,
        "dtype": inputs.settings.dtype,
        "sequential": inputs.settings.sequential,
        "device": inputs.resources.device_class,
        "registrations": inputs.registry.digest,
        "versions": {"numerics": NUMERICS_VERSION, "judge": JUDGE_VERSION, "seed": SEED},
    }


def statement_digest(claim: Claim) -> str:
    """SHA-256 of what a claim states, so that an edited claim matches no old expectation."""
    exact = [
        [str(s.operator), s.threshold.hex(), [[str(quantity), c.hex()] for quantity, c in s.form.terms]]
        for s in claim.statements
    ]
    return hashlib.sha256(json.dumps(exact).encode()).hexdigest()[:16]


def load_expected(suite: Suite) -> dict[str, Expected]:
    """The expectations that apply to this run, by node id; none when any condition differs.

    Raises:
        ValueError: the file is malformed, or an entry that is not SUPPORTED carries no reason.
    """
    file = suite.inputs.trained.folder / FILE
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["conditions"] != conditions(suite):
            return {}
        found = {}
        for claim in suite.claims:
            entry = content["claims"].get(claim_key(claim.node_id))
            if entry is None or entry["statement"] != statement_digest(claim):
                continue
            found[claim.node_id] = Expected(Verdict(entry["verdict"]), entry["reason"])
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{file}: malformed ({error!r}); rewrite it with --attnres-write-expected") from None
    for node_id, expected in found.items():
        if expected.verdict is not Verdict.SUPPORTED and not expected.reason.strip():
            raise ValueError(f"{file}: {claim_key(node_id)} is expected {expected.verdict} without a reason; write one")
    return found


def write_expected(suite: Suite, outcomes: Mapping[str, Outcome]) -> Path:
    """Rewrite this run's entries; reasons of unchanged verdicts stay, the others must be written by hand.

    Under the same conditions, entries of claims that did not run stay too.
    """
    file = suite.inputs.trained.folder / FILE
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        entries, same = dict(before["claims"]), before["conditions"] == conditions(suite)
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError, ValueError):
        entries, same = {}, False
    kept = dict(entries) if same else {}
    for node_id, outcome in outcomes.items():
        if outcome.error:
            continue
        key, verdict = claim_key(node_id), outcome.verdict.value
        old = entries.get(key, {})
        reason = old.get("reason", "") if old.get("verdict") == verdict else ""
        kept[key] = {"verdict": verdict, "statement": statement_digest(outcome.claim), "reason": reason}
    with atomic(file) as temporary:
        content = {"conditions": conditions(suite), "claims": dict(sorted(kept.items()))}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file
