"""Fitted constants: a minimum known by hand, a fit that is never worse than its starts, models without gradients."""

import math

import numpy as np
import pytest
import torch
from support import foreign_models
from support.foreign_models import KIMI_NAMES, KimiLike, with_weights_of
from test_micro_models import ZERO, X, Y, axis, micro

import attnres_core as ac
from attnres_core.engine.sweep import sweep_chunk
from attnres_core.models.adapters.foreign import KIMI_K3
from attnres_core.models.networks.fitting import fit, parts
from attnres_core.models.networks.reference_states import Reference
from attnres_core.quantities import ablations
from attnres_core.quantities.intervention import resolve


# With constants for all that the read-out reads, every prediction is the same. Three quarters of the next tokens are 0:
# the least loss is the entropy of (3/4, 1/4), where the logits are ln 3 apart. The embedding is (1, 0, 0) whatever the
# token and sublayers write nothing, so the clean logits are 6 and 0, and drops leave them as they are.
def test_a_minimum_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "FIT_STEPS", 80)
    model = micro(tmp_path, "kimi_block", [(ZERO, ZERO)], [axis(X)] * 2, [axis(X, 3.0), axis(Y, 3.0)])
    prompts = [[0, 0, 0, 1, 0], [1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [1, 0, 1, 0, 0]] * 2
    what = ac.optimal(ac.ANY, ac.FINAL)
    effect = ac.measure(model, prompts, [what], progress=False)[what]
    clean = [math.log(1 + math.exp(-6)), math.log(1 + math.exp(6))]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effect.mean() == pytest.approx(entropy - 0.75 * clean[0] - 0.25 * clean[1], abs=1e-3)
    logits = model.logits(torch.tensor([[0, 1, 1]]), ablation=what, reference=prompts)[0]
    assert (logits[:, 0] - logits[:, 1]).tolist() == pytest.approx([math.log(3)] * 3, abs=0.05)


def rows_of(count, vocabulary=96):
    return np.random.default_rng(0).integers(0, vocabulary, (count, 9)).tolist()


@pytest.mark.parametrize("folder", ["open_block_11", "delta_null_35"])
def test_a_fit_is_never_worse_than_its_start_where_it_is_chosen(folder, conformance):
    """And what it says of its loss is what the sweep measures with its constants."""
    model, rows = ac.load_model(conformance / folder), rows_of(20)
    intervention = resolve(ac.optimal(ac.EMBEDDING & ac.RECENT, ac.MLP, ac.LATE), model.sites, model.num_layers)
    chosen_on = [rows[index] for index in parts(range(20))[1]]
    nll, losses = None, {}
    for start in ablations.FIT_STARTS:
        found = fit(model.network, rows, range(20), intervention, start)
        reference = Reference(model.network, rows, {intervention: found.constants}.__getitem__)
        units = sweep_chunk(model, chosen_on, [intervention], reference=reference)
        nll = units["routing"]["nll"]
        assert found.loss == pytest.approx((nll + units[intervention.key]["delta_nll"]).mean(), abs=1e-5)
        losses[start] = found.loss
    zero = ac.zero(ac.EMBEDDING & ac.RECENT, ac.MLP, ac.LATE)
    assert losses["zero"] <= (nll + ac.measure(model, chosen_on, [zero])[zero]).mean() + 1e-6


def test_prompts_of_a_step_may_be_run_in_parts(conformance):
    """Where memory is short: the same steps, their gradients added up."""
    model, rows = ac.load_model(conformance / "open_block_11"), rows_of(24)
    intervention = resolve(ac.optimal(ac.EMBEDDING, ac.MLP, ac.EARLY), model.sites, model.num_layers)
    whole, parted = (fit(model.network, rows, range(24), intervention, "mean", together=count) for count in (16, 3))
    assert torch.allclose(whole.constants, parted.constants, atol=1e-4)
    assert whole.loss == pytest.approx(parted.loss, abs=1e-5)


def test_documents_stay_together():
    assert parts("aabbccddeeff") == ([0, 1, 2, 3, 4, 5, 8, 9, 10, 11], [6, 7])
    assert parts("ab") == ([0], [1])
    with pytest.raises(ValueError, match="constants are fitted to some documents and chosen on others, and there is 1"):
        parts("aaa")


def test_a_model_without_gradients_is_refused(conformance):
    kimi = ac.load_model(conformance / "kimi_block_14")
    call = ac.RoutingCall(foreign_models, KIMI_K3.call, KIMI_K3.describe)
    model = ac.adapt(
        with_weights_of(KimiLike(kimi.network.config, 2), kimi, KIMI_NAMES),
        call,
        vocabulary=96,
        context=128,
        forward=lambda network, ids, mask: torch.no_grad()(network)(input_ids=ids),
    )
    with pytest.raises(ValueError, match="constants cannot be fitted on this model, since it has no gradients"):
        ac.measure(model, rows_of(3), [ac.optimal(ac.CURRENT, ac.MLP)])
