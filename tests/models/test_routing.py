"""The routing operation, worked out by hand and as properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnres_core.models.networks.routing import LearnedLogits, PseudoQuery, Removal, SiteOverride, Source, route

EPS = 0.0


def state(*values):
    return Source(torch.tensor([[values]], dtype=torch.float32), EPS)  # one row, one position


def test_two_sources_by_hand():
    """s0 = (2, 0), s1 = (0, 2): rms is sqrt 2 for both, so the logits of w = (log 2 / sqrt 2, 0) are log 2 and 0."""
    read = route([state(2, 0), state(0, 2)], PseudoQuery(torch.tensor([math.log(2) / math.sqrt(2), 0.0])))
    assert read.weights.flatten().tolist() == pytest.approx([2 / 3, 1 / 3])
    assert read.mixture.flatten().tolist() == pytest.approx([4 / 3, 2 / 3])


def test_recency_bias_joins_the_last_source_alone():
    sources = [state(1, 1), state(1, 1), state(1, 1)]
    read = route(sources, PseudoQuery(torch.zeros(2), torch.tensor(math.log(8))))
    assert read.weights.flatten().tolist() == pytest.approx([0.1, 0.1, 0.8])


def test_drop_by_hand():
    """Dropping one of three equally weighted sources leaves halves, and the mean of the other two."""
    bias = torch.tensor([-torch.inf, 0.0, 0.0])[:, None, None]
    read = route([state(9, 9), state(2, 0), state(0, 4)], PseudoQuery(torch.zeros(2)), SiteOverride(logit_bias=bias))
    assert read.weights.flatten().tolist() == pytest.approx([0, 0.5, 0.5])
    assert read.mixture.flatten().tolist() == pytest.approx([1, 2])
    assert read.natural.flatten().tolist() == pytest.approx([1 / 3] * 3)


def test_weight_override_by_hand():
    weights = torch.tensor([0.25, 0.75])[:, None, None]
    override = SiteOverride(rewrites=((slice(0, 1), lambda natural: weights),))
    read = route([state(4, 0), state(0, 4)], PseudoQuery(torch.ones(2)), override)
    assert read.mixture.flatten().tolist() == [1, 3]


@pytest.mark.parametrize(("keys", "weights"), [(False, [0.5, 0.5]), (True, [0.2, 0.8])])
def test_a_fill_replaces_values_and_keys_only_where_it_says_so(keys, weights):
    """s1 = (0, 4) becomes (4, 0): with w = (log 4 / sqrt 2, 0) its logit goes from 0 to log 4, s0's is 0."""
    mask = torch.tensor([0.0, 1.0])[:, None, None]
    fill = Removal(slice(0, 1), lambda weights: weights * mask, {1: torch.tensor([4.0, 0.0])}, keys=keys)
    query = torch.tensor([math.log(4) / math.sqrt(2), 0.0])
    read = route([state(0, 8), state(0, 4)], PseudoQuery(query), SiteOverride(removals=(fill,)))
    assert read.natural.flatten().tolist() == pytest.approx([0.5, 0.5])
    assert read.weights.flatten().tolist() == pytest.approx(weights)
    assert read.mixture.flatten().tolist() == pytest.approx([4 * weights[1], 8 * weights[0]])


def test_a_fill_of_part_of_a_source():
    """A quarter of s1's half of the weight passes to another state."""
    share = torch.tensor([0.0, 0.25])[:, None, None]
    fill = Removal(slice(0, 1), lambda weights: weights * share, {1: torch.tensor([100.0, 0.0])})
    read = route([state(8, 0), state(0, 8)], PseudoQuery(torch.zeros(2)), SiteOverride(removals=(fill,)))
    assert read.mixture.flatten().tolist() == pytest.approx([4 + 12.5, 3])


def test_interventions_are_about_their_rows_alone():
    sources = [Source(torch.tensor([[[4.0, 0.0]]]).repeat(3, 1, 1), EPS), Source(torch.ones(3, 1, 2), EPS)]
    fill = Removal(slice(0, 1), lambda weights: weights * torch.tensor([1.0, 0.0])[:, None, None])
    rule = (slice(1, 2), lambda weights: torch.tensor([1.0, 0.0])[:, None, None].expand_as(weights))
    read = route(sources, PseudoQuery(torch.zeros(2)), SiteOverride(rewrites=(rule,), removals=(fill,)))
    assert read.mixture[:, 0].tolist() == [[0.5, 0.5], [4, 0], [2.5, 0.5]]


@st.composite
def sites(draw):
    n, d = draw(st.integers(2, 6)), 4
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    sources = [Source(3 * torch.randn(2, 3, d, generator=generator), 1e-6) for _ in range(n)]
    return sources, 2 * torch.randn(d, generator=generator), torch.randn((), generator=generator)


@given(sites())
def test_weights_sum_to_one(site):
    sources, query, bias = site
    read = route(sources, PseudoQuery(query, bias))
    assert torch.allclose(read.weights.sum(0), torch.ones(2, 3), atol=1e-6)


@given(sites(), st.data())
def test_a_drop_is_the_natural_weights_renormalised(site, data):
    sources, query, bias = site
    gone = data.draw(st.integers(0, len(sources) - 1))
    mask = torch.zeros(len(sources), 1, 1)
    mask[gone] = -torch.inf
    read = route(sources, PseudoQuery(query, bias), SiteOverride(logit_bias=mask))
    kept = read.natural * (mask == 0)
    assert torch.allclose(read.weights, kept / kept.sum(0), atol=1e-5)
    assert bool((read.weights[gone] == 0).all())


@given(sites())
def test_an_override_of_nothing_changes_nothing(site):
    sources, query, bias = site
    sham = route(sources, PseudoQuery(query, bias), SiteOverride(logit_bias=torch.zeros(len(sources), 1, 1)))
    assert torch.equal(sham.mixture, route(sources, PseudoQuery(query, bias)).mixture)


@given(sites(), st.floats(0.1, 10))
def test_keys_do_not_see_a_source_s_scale(site, factor):
    sources, query, bias = site
    scaled = [Source(source.state * factor, 1e-12) for source in sources]
    plain = [Source(source.state, 1e-12) for source in sources]
    assert torch.allclose(
        route(scaled, PseudoQuery(query, bias)).weights, route(plain, PseudoQuery(query, bias)).weights, atol=1e-4
    )


def test_learned_logits_are_the_first_of_a_site_s():
    """Softmax of (0, ln 3) is (1/4, 3/4), whatever the sources hold."""
    scoring = LearnedLogits(torch.tensor([0.0, math.log(3), 7.0]))
    read = route([state(4, 0), state(0, 8)], scoring)
    assert read.weights.flatten().tolist() == pytest.approx([0.25, 0.75])
    assert read.mixture.flatten().tolist() == pytest.approx([1, 6])


def test_the_running_state_is_read_beside_the_mixture():
    beside = torch.tensor([[[1.0, 1.0]]])
    read = route([state(4, 0), state(0, 8)], PseudoQuery(torch.zeros(2)), beside=beside)
    assert read.mixture.flatten().tolist() == pytest.approx([3, 5])
    assert beside.flatten().tolist() == [1, 1]  # (it is the stream's own, and never written to)


def test_a_read_that_lost_every_source_is_the_running_state():
    """Row 0 loses both sources, row 1 one of them: 1 + 8, beside a state of ones."""
    sources = [Source(torch.tensor([[[4.0, 0.0]]]).repeat(2, 1, 1), EPS), Source(torch.full((2, 1, 2), 8.0), EPS)]
    bias = torch.tensor([[-torch.inf, -torch.inf], [-torch.inf, 0.0]])[..., None]
    read = route(sources, PseudoQuery(torch.zeros(2)), SiteOverride(logit_bias=bias), torch.ones(2, 1, 2))
    assert read.mixture[:, 0].tolist() == [[1, 1], [9, 9]]
    assert read.weights[:, :, 0].tolist() == [[0, 0], [0, 1]]
    assert read.kept.flatten().tolist() == [0, 0.5]
