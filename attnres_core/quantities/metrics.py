"""The table of metrics: how an ablation's effect on a prompt is scored, a row each.

How a metric is computed is in the file of its name in `engine/metrics/`.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnres_core.quantities.vocabulary import Row


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """The facts of a metric."""

    unit: str
    words: str
    """Its mean over documents, as a noun that a comma or "when ..." can follow."""
    formula: str
    """Of a prompt x_d, in symbols; `{act}` stands for what the ablation sets."""
    needs: str = ""
    """The field that prompts must have: `answer` or `foil` (which takes an answer, too) of a metric that is read at the
    position after the prompt's last token, `sentence` of one of pairs. The others are of every next-token
    prediction."""
    of_pairs: bool = False
    """Whether it is of two prompts, a good sentence and a bad one: nothing is scored for it, it is read off losses."""
    costly: bool = False
    """Whether it is scored only where a quantity asks for it. The others are all scored together, next to free."""


class Metric(Row):
    """The score of an ablation's effect on a prompt: positive where the ablation hurts."""

    spec: MetricSpec

    DELTA_NLL = (
        "delta_nll",
        MetricSpec(
            "nats/token",
            "the mean rise in next-token loss, nats per token,",
            "L(x_d | do({act})) − L(x_d)",
        ),
    )
    """NLL of the ablated run minus NLL of the clean run, nats per token."""
    KL = (
        "kl",
        MetricSpec(
            "nats/token",
            "the mean KL divergence from the clean predictions, nats per token,",
            "KL(p(x_d) ‖ p(x_d | do({act})))",
        ),
    )
    """KL(clean || ablated) of the next-token distribution, nats per token."""

    LOGIT_DIFFERENCE = (
        "logit_difference",
        MetricSpec(
            "logits",
            "the mean loss of the answer's lead over its foil, in logits,",
            "lead(x_d) − lead(x_d | do({act}))",
            needs="foil",
        ),
    )
    """Answer's logit minus foil's, clean run minus ablated run: how much of the preference is lost. In logits."""
    ANSWER_PROBABILITY = (
        "answer_probability",
        MetricSpec(
            "probability",
            "the mean loss of the answer's probability",
            "p(answer | x_d) − p(answer | x_d, do({act}))",
            needs="answer",
        ),
    )
    """Probability of the answer, clean run minus ablated run."""
    TOP1_AGREEMENT = (
        "top1_agreement",
        MetricSpec(
            "share of predictions",
            "the mean loss of agreement with the clean run's most likely tokens, a share of predictions,",
            "P(argmax p(x_d) ≠ argmax p(x_d | do({act})))",
            costly=True,
        ),
    )
    """Share of next-token predictions, on the given text, whose most likely token is another than in the clean run."""
    DELTA_ENTROPY = (
        "delta_entropy",
        MetricSpec(
            "nats/token",
            "the mean rise in the entropy of the next-token distribution, nats per token,",
            "H(p(x_d | do({act}))) − H(p(x_d))",
            costly=True,
        ),
    )
    """Entropy of the ablated run's next-token distribution minus that of the clean run's, nats per token."""
    SENTENCE_LEAD = (
        "sentence_lead",
        MetricSpec(
            "nats",
            "the mean loss of the good sentence's lead over the bad one, in nats,",
            "lead(d) − lead(d | do({act})), lead = ln p(good_d) − ln p(bad_d)",
            needs="sentence",
            of_pairs=True,
        ),
    )
    """ln p(good sentence) - ln p(bad sentence), summed over tokens, clean run minus ablated run. In nats."""
    SENTENCE_ACCURACY = (
        "sentence_accuracy",
        MetricSpec(
            "pp",
            "the loss of pairs whose good sentence is likelier, in percentage points,",
            "100 (P(lead(d) > 0) − P(lead(d | do({act})) > 0)), lead = ln p(good_d) − ln p(bad_d)",
            needs="sentence",
            of_pairs=True,
        ),
    )
    """Percentage of pairs whose good sentence is likelier, clean run minus ablated run: in percentage points (pp)."""


SCORED = tuple(metric for metric in Metric if not metric.spec.of_pairs)
"""Those that a model's runs are scored by."""
TOGETHER = tuple(metric for metric in SCORED if not metric.spec.costly)
"""Those that are scored wherever something is ablated."""
