"""The number of seeds that must agree before a claim about a training recipe is decided.

The claim: more than half of the seeds of this recipe have the trait. Each seed has a verdict from documents, wrong with
probability at most `document_alpha` given the seed's weights. All seeds share the documents, so those errors may depend
on each other in any way; nothing is assumed of how effects scatter over seeds.

The bound. Let N of K independent seeds have the trait, N ~ Binomial(K, p). If at least c verdicts say SUPPORTED while
N = n < c, then at least c - n of the K - n other verdicts are wrong: by Markov's inequality its probability is at most
g(n) = min(1, (K - n) document_alpha / (c - n)). Put g(n) = 1 for n >= c. P(at least c SUPPORTED) <= E g(N). g never
falls with n, so the bound is largest at the largest p that makes the claim false: p = 1/2. For c = K it is
2^-K + (1 - 2^-K) document_alpha. REFUTED is the same with the trait's absence, in the place of the trait.
"""

from __future__ import annotations

import math


def level(seeds: int, agreeing: int, document_alpha: float) -> float:
    """Upper bound of the probability of a wrong verdict when `agreeing` of `seeds` verdicts must be the same.

    Args:
        seeds: K, how many independent seeds were measured.
        agreeing: c, how many verdicts must be the same, 1 to K.
        document_alpha: probability that one seed's verdict is wrong, given its weights.
    """

    def wrong(having: int) -> float:
        return min(1.0, (seeds - having) * document_alpha / (agreeing - having)) if having < agreeing else 1.0

    return math.fsum(math.comb(seeds, having) * wrong(having) for having in range(seeds + 1)) / float(2**seeds)


def agreeing_seeds(seeds: int, alpha: float, document_alpha: float) -> int:
    """The fewest of `seeds` verdicts that must be the same for a level of `alpha`.

    Raises:
        ValueError: no number attains it; says which level all of them give.
    """
    for agreeing in range(seeds // 2 + 1, seeds + 1):
        if level(seeds, agreeing, document_alpha) <= alpha:
            return agreeing
    reached = (
        f"all {seeds} of {seeds} give {level(seeds, seeds, document_alpha):.2g}" if seeds else "there are no seeds"
    )
    raise ValueError(f"no rule on {seeds} seeds at {document_alpha:.2g} each has level {alpha:.2g}: {reached}")
