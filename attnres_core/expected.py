"""Expected verdicts: what a reference checkpoint is known to give, applied only when all that matters is equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attnres_core import claims as claims_module
from attnres_core.statistics import Verdict
from attnres_core.store import atomic
from attnres_core.suite import Claim, Outcome, Suite
from attnres_core.vocabulary import Role

FILE = "expected_verdicts.json"
"""Its name, inside the trained checkpoint's folder."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A known verdict, and why it is not SUPPORTED."""

    verdict: Verdict
    reason: str


def conditions(suite: Suite) -> dict[str, object]:
    """Everything beside a claim's own text that its verdict depends on."""
    return {
        "trained": suite.checkpoints[Role.TRAINED].digest,
        "wrapped": suite.checkpoints[Role.WRAPPED].digest,
        "prompts": suite.prompts_digest,
        "prompts_per_split": {split.value: len(part) for split, part in suite.prompts.items()},
        "dtype": suite.settings.dtype,
        "alpha_per_claim": claims_module.ALPHA / claims_module.PROVISIONAL_CLAIMS,
    }


def statement_digest(claim: Claim) -> str:
    """SHA-256 of what a claim states, so that an edited claim matches no old expectation."""
    return hashlib.sha256("\n".join(map(str, claim.statements)).encode()).hexdigest()[:16]


def claim_key(node_id: str) -> str:
    """A claim's name relative to its file's folder: the same from any working directory."""
    return node_id.rsplit("/", 1)[-1]


def load_expected(suite: Suite, collected: Sequence[Claim]) -> dict[str, Expected]:
    """The expectations that apply to this run, by node id; none when any condition differs.

    Raises:
        ValueError: the file is malformed, or an entry that is not SUPPORTED carries no reason.
    """
    file = suite.trained.folder / FILE
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["conditions"] != conditions(suite):
            return {}
        found = {}
        for claim in collected:
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
    """Rewrite the file from this run; reasons of unchanged verdicts stay, the others must be written by hand."""
    file = suite.trained.folder / FILE
    before = json.loads(file.read_text(encoding="utf-8"))["claims"] if file.is_file() else {}
    entries = {}
    for node_id, outcome in sorted(outcomes.items()):
        if outcome.error:
            continue
        key, verdict = claim_key(node_id), outcome.verdict.value
        old = before.get(key, {})
        reason = old.get("reason", "") if old.get("verdict") == verdict else ""
        entries[key] = {"verdict": verdict, "statement": statement_digest(outcome.claim), "reason": reason}
    with atomic(file) as temporary:
        content = {"conditions": conditions(suite), "claims": entries}
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return file
