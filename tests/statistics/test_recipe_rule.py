"""How many seeds must agree: the bound against scipy, the worst dependence, and simulation."""

import numpy as np
import pytest
from scipy import stats

from attnres_core.statistics.recipe_rule import agreeing_seeds, level


def test_without_errors_of_documents_the_level_is_the_binomial_tail():
    for seeds, agreeing in ((8, 8), (12, 11), (12, 9)):
        assert level(seeds, agreeing, 0.0) == pytest.approx(stats.binom.sf(agreeing - 1, seeds, 0.5))


def test_all_of_eight_holds_the_level_with_the_suites_own_shares():
    assert level(8, 8, 0.05 / 128) == pytest.approx(2**-8 + (1 - 2**-8) * 0.05 / 128)
    assert agreeing_seeds(8, 0.005, 0.05 / 128) == 8
    assert agreeing_seeds(12, 0.005, 0.05 / 128) == 11


def test_too_few_seeds_or_too_lenient_documents_are_refused():
    for seeds, document_alpha in ((0, 0.0), (5, 0.0), (7, 0.0), (8, 0.002)):
        with pytest.raises(ValueError, match="no rule on"):
            agreeing_seeds(seeds, 0.005, document_alpha)


@pytest.mark.parametrize("agreeing", [8, 7])
def test_the_bound_is_attained_by_errors_that_come_together_and_no_share_of_seeds_below_half_exceeds_it(agreeing):
    """One unlucky set of documents fools every seed at once: the worst case of shared documents at c = K."""
    rng, trials, document_alpha = np.random.default_rng(0), 200_000, 0.02
    rates = []
    for share in (0.1, 0.3, 0.5):
        having = rng.random((trials, 8)) < share
        fooled = rng.random((trials, 1)) < document_alpha
        rates.append(((having | fooled).sum(1) >= agreeing).mean())
    bound = level(8, agreeing, document_alpha)
    error = np.sqrt(bound / trials)
    assert max(rates) <= bound + 4 * error
    if agreeing == 8:
        assert rates[-1] == pytest.approx(bound, abs=4 * error)
    independent = ((having | (rng.random((trials, 8)) < document_alpha)).sum(1) >= agreeing).mean()
    assert independent <= bound + 4 * error
