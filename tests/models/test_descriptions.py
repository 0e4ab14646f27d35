"""What a description may say beside a pseudo-query: given logits, free weights, a base; on a model of each."""

import pytest
import torch
from torch import nn

import attnres_core as ac
from attnres_core.models.adapters.adapter import AdapterError
from attnres_core.testing import check_adapter

WIDTH, TOKENS = 12, 30


class Mixer(nn.Module):
    """One site: weights of a kind over the sources, and a base beside them in some kinds."""

    def __init__(self, kind, most):
        super().__init__()
        self.kind, sizes = kind, {"static": (most,), "free": (WIDTH, most), "channels": (most, WIDTH)}
        self.own = nn.Parameter(torch.randn(*sizes.get(kind, (WIDTH,))))

    def weights(self, sources, base):
        count = len(sources)
        if self.kind == "static":
            return self.own[:count, None, None].expand(-1, *base.shape[:-1]).softmax(0)
        if self.kind == "given":
            return self.logits(sources).softmax(0)
        if self.kind == "delta":
            keys = nn.functional.rms_norm(torch.stack(list(sources)), (WIDTH,), eps=1e-6)
            return (keys @ self.own).softmax(0)
        if self.kind == "free":
            return torch.tanh(base @ self.own)[..., :count].movedim(-1, 0)
        return self.own[:count, None, None].sigmoid() * torch.ones_like(torch.stack(list(sources)))

    def logits(self, sources):
        return torch.stack([(state * torch.sin(state)) @ self.own for state in sources])

    def forward(self, sources, base):
        if not sources:
            return base
        weights = self.weights(sources, base)
        weights = weights if weights.ndim == base.ndim + 1 else weights[..., None]
        mixture = (weights * torch.stack(list(sources))).sum(0)
        return base + mixture if self.kind == "delta" else mixture


class Model(nn.Module):
    """Every sublayer's output is a source; `delta` reads the running state beside them, and nothing at first."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.embed, self.lm_head = kind, nn.Embedding(TOKENS, WIDTH), nn.Linear(WIDTH, TOKENS)
        self.layers = nn.ModuleList(nn.ModuleDict() for _ in range(3))
        for layer in self.layers:
            layer["attn_mixer"], layer["mlp_mixer"] = Mixer(kind, 7), Mixer(kind, 7)
            layer["mlp"] = nn.Sequential(nn.RMSNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Tanh())

    def forward(self, input_ids, attention_mask=None):
        state = self.embed(input_ids)
        sources = [] if self.kind == "delta" else [state]
        for layer in self.layers:
            for name in ("attn_mixer", "mlp_mixer"):
                output = layer["mlp"](layer[name](sources, state))
                sources, state = [*sources, output], state + output
        return self.lm_head(state)


def describe(mixer, sources, base):
    given = {
        "static": lambda: {"logits": mixer.own[: len(sources)]},
        "given": lambda: {"logits": mixer.logits(sources)},
        "delta": lambda: {"base": base, "families": [ac.OLDER] * (len(sources) - 1) + [ac.RECENT] * bool(sources)},
        "free": lambda: {"weights": mixer.weights(sources, base)},
        "channels": lambda: {"weights": mixer.weights(sources, base)},
    }[mixer.kind]()
    query, eps = (mixer.own, 1e-6) if mixer.kind == "delta" else (None, None)
    return ac.Asked(sources, query, eps, mixer.own, **given)


@pytest.fixture(scope="module", params=["static", "given", "delta", "free", "channels"])
def model(request):
    torch.manual_seed(0)
    return adapted(Model(request.param))


def adapted(network, describe=describe):
    return ac.adapt(network, ac.RoutingCall(Mixer, "forward", describe), vocabulary=TOKENS, context=32)


def test_it_does_what_measuring_takes_for_granted(model):
    check_adapter(model)
    kind = model.network.network.kind
    first = model.sites[0]
    assert (str(first), first.adds_to_state) == (("0.mlp", True) if kind == "delta" else ("0.attn", False))
    assert {site.free for site in model.sites} == {kind in ("free", "channels")}


def test_a_drop_is_what_the_model_computes_without_the_source(model, monkeypatch):
    """Weights of a softmax grow to one again; others stay, and the source is missing; a base is read all the same."""
    ids, kind = torch.arange(8)[None], model.network.network.kind
    dropped = ac.RECENT if kind == "delta" else ac.EMBEDDING
    forward = Mixer.forward

    def without(mixer, sources, base):
        place = len(sources) - 1 if kind == "delta" else 0
        if not sources or (len(sources) == 1 and kind != "delta"):
            return forward(mixer, sources, base)
        weights = mixer.weights(sources, base)
        weights = weights if weights.ndim == base.ndim + 1 else weights[..., None]
        weights = torch.cat([weights[:place], torch.zeros_like(weights[:1]), weights[place + 1 :]])
        if not mixer.kind.startswith(("free", "channels")) and len(sources) > 1:
            weights = weights / weights.sum(0)
        mixture = (weights * torch.stack(list(sources))).sum(0)
        return base + mixture if kind == "delta" else mixture

    found = model.logits(ids, ablation=ac.drop(dropped, ac.ALL_SITES))
    monkeypatch.setattr(Mixer, "forward", without)
    with torch.inference_mode():
        expected = model.network.network(ids)
    assert (found - expected).abs().max() < 1e-5
    monkeypatch.undo()
    assert (found - model.logits(ids)).abs().max() > 1e-3


def test_everything_can_be_dropped_where_something_is_read_beside_it(model):
    everything = ac.drop(ac.ANY, ac.MLP)
    if any(site.may_lose_all for site in model.sites):
        assert model.logits(torch.arange(5)[None], ablation=everything).isfinite().all()
    else:
        with pytest.raises(ValueError, match="would leave no source"):
            model.logits(torch.arange(5)[None], ablation=everything)


def test_weights_that_the_model_computes_are_not_computed_anew(model):
    """From other states: nobody here knows how; learned numbers are the same whatever the states."""
    family = ac.RECENT if model.network.network.kind == "delta" else ac.EMBEDDING
    asked, ids = ac.zero(family, ac.MLP, recomputed=True), torch.arange(5)[None]
    if model.network.network.kind in ("delta", "static"):
        assert model.logits(ids, ablation=asked).isfinite().all()
    else:
        with pytest.raises(ValueError, match="the model's own code computes the weights here"):
            model.logits(ids, ablation=asked)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "gives no weights; give query, logits or weights"),
        ({"logits": torch.zeros(1), "weights": torch.zeros(1)}, "gives logits and weights; give query, logits or"),
        ({"logits": torch.zeros(9)}, "gives 9 `logits` for 1 sources; give one for each, in order"),
        ({"logits": torch.zeros(1), "families": [None, None]}, "gives 2 `families` for 1 sources"),
        ({"sources": []}, "gives neither `sources` nor a `base`"),
    ],
)
def test_a_description_that_says_too_little_or_too_much_is_refused(given, told):
    def wrong(mixer, sources, base):
        return ac.Asked(
            given.get("sources", sources), None, None, mixer.own, **{k: given[k] for k in given if k != "sources"}
        )

    with pytest.raises(AdapterError, match=told):
        adapted(Model("static"), wrong)


def test_a_pseudo_query_that_no_call_was_seen_to_use_is_refused():
    network = Model("static")
    network.extra_mixer = Mixer("static", 7)
    call = ac.RoutingCall(Mixer, "forward", describe)
    sizes = {"vocabulary": TOKENS, "context": 32}
    with pytest.raises(AdapterError, match=r"no call was seen to read with extra_mixer.own \(seen: Mixer.forward\)"):
        ac.adapt(network, call, **sizes, queries=lambda name: name.endswith("mixer.own"))
    assert ac.adapt(network, call, **sizes, queries=lambda name: name.startswith("layers.") and "mixer" in name).sites
