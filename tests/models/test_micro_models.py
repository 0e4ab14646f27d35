"""Micro models on disk whose depth weights, drops and losses are worked out by hand: fractions and their logs.

Hidden size 4, axes X, Y, Z and ONE. Queries and keys of the attention are zero, so it averages a map of its input
over the positions so far. In an *anchored* model every embedding is (x, 0, 0, 2^16) and every norm has gain 2^15:
the rms of a state that holds the embedding once is then 2^15 (to 1e-8), so its norm leaves it as it is, and the MLP's
gates, which read ONE, are 32 (silu(32) = 32): sublayers are plain linear maps. Where a read-out or a sublayer reads
the embedding with weight a, its norm divides the whole mixture by a. A state is written (x, y, z), ONE left out.
"""

import json
import math
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

import attnres_core as ac
from attnres_core.quantities.intervention import resolve
from attnres_core.quantities.vocabulary import Site

X, Y, Z, ONE = range(4)
ANCHOR, GAIN = 2.0**16, 2.0**15
log, LN2, LN3 = math.log, math.log(2), math.log(3)
ZERO = [[0.0] * 4 for _ in range(4)]
ONE_AND_THREE = [[1.0, 0.0, 0.0, ANCHOR], [3.0, 0.0, 0.0, ANCHOR]]
FIRST, SECOND, THIRD = (range(layer, layer + 1) for layer in range(3))
near = partial(pytest.approx, abs=1e-6)


def axis(index, value=1.0):
    return [value if other == index else 0.0 for other in range(4)]


def move(source, target, times=1.0):
    """The map that writes `times` what it reads on axis `source` onto axis `target`."""
    return [axis(source, times) if row == target else [0.0] * 4 for row in range(4)]


def micro(folder, kind, layers, embedding, head, *, blocks=1, gain=1.0, query=ZERO[0], bias=0.0):
    """Write a checkpoint and load it. `layers`: the maps of (attention, MLP); `query`, `bias`: of every site."""
    gains, eye, tensors = [gain] * 4, [axis(row) for row in range(4)], {}
    places = ["model.final"] if kind in ("kimi_block", "open_reset") else []
    for index, (attention, mlp) in enumerate(layers):
        layer = f"model.layers.{index}"
        maps = {"self_attn.q": ZERO, "self_attn.k": ZERO, "self_attn.v": attention, "self_attn.o": eye, "mlp.up": mlp}
        maps |= {"mlp.gate": [axis(ONE, 32 / ANCHOR)] * 4, "mlp.down": [axis(row, 1 / 32) for row in range(4)]}
        tensors |= {f"{layer}.{name}_proj.weight": value for name, value in maps.items()}
        tensors |= {f"{layer}.self_attn.{name}_norm.weight": [1.0] * 4 for name in "qk"}
        tensors |= {f"{layer}.{name}_layernorm.weight": gains for name in ("input", "post_attention")}
        places += [f"{layer}.attn", f"{layer}.mlp"]
    tensors |= {"model.embed_tokens.weight": embedding, "lm_head.weight": head, "model.norm.weight": gains}
    sizes = {"hidden_size": 4, "intermediate_size": 4, "head_dim": 4, "vocab_size": len(head)}
    sizes |= {"num_attention_heads": 1, "num_key_value_heads": 1, "num_hidden_layers": len(layers)}
    config = {"model_type": "qwen3", **sizes, "max_position_embeddings": 16, "rms_norm_eps": 1e-12}
    if kind != "wrapped":
        config |= {"model_type": "qwen3_attnres", "attnres_mode": "full" if kind == "open_full" else "block"}
        config["attnres_num_blocks"] = blocks
        routing = {"proj": [query], "norm": gains}
        tensors |= {f"{place}_res_{name}.weight": value for place in places for name, value in routing.items()}
    if kind not in ("wrapped", "kimi_block"):
        tensors |= {f"{place}_res_bias": bias for place in places}
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    save_file({name: torch.tensor(value) for name, value in tensors.items()}, folder / "model.safetensors")
    return ac.load_model(folder, **({"wrap": bias, "num_blocks": blocks} if kind == "wrapped" else {}))


def depth_weights(model, ids, ablation=None, position=0):
    found = model.depth_weights(torch.tensor([ids]), ablation=ablation)
    return {str(site): weights[:, 0, position].tolist() for site, weights in found.items()}


def logits(model, ids, ablation=None, position=0):
    return model.logits(torch.tensor([ids]), ablation=ablation)[0, position].tolist()


# A read's turn, by hand, with no anchor: 0.attn reads the embedding (1, 0, 0), its norm makes it (2, 0, 0), it writes
# (0, 2, 0). 0.mlp reads half of each, h = (1/2, 1, 0): without the embedding it keeps 2 / sqrt 5 of its direction,
# without the current state 1 / sqrt 5. The MLP writes nothing.
def test_the_turn_of_a_read_by_hand(tmp_path):
    model = micro(tmp_path, "kimi_block", [(move(X, Y), ZERO)], [axis(X)] * 2, [axis(X), axis(Y)])
    wanted = [ac.turn(family, ac.MLP, FIRST) for family in (ac.EMBEDDING, ac.CURRENT)]
    columns = ac.measure(model, [[0, 0]], wanted)
    assert [columns[what][0] for what in wanted] == near([1 - 2 / math.sqrt(5), 1 - 1 / math.sqrt(5)])


READ_Y, READ_ONE = axis(Y, LN2), axis(ONE, LN2 / ANCHOR)
"""Pseudo-queries of anchored models: y ln 2; ln 2 for a source that contains the embedding, 0 for one that does not."""


# The same weights in every dialect. Tokens 0, 1 have x = 1, 3; the logits are the final state's x, y, z.
# Attention 0: y += x. MLP 0: z += 4 y. Attention 1: x += y. MLP 1: z += x. One layer a block. Recency bias ln 3.
def same_weights(folder, kind, bias=LN3):
    layers = [(move(X, Y), move(Y, Z, 4.0)), (move(Y, X), move(X, Z))]
    embedding, head = [*ONE_AND_THREE, axis(ONE, ANCHOR)], [axis(X), axis(Y), axis(Z)]
    return micro(folder, kind, layers, embedding, head, blocks=2, gain=GAIN, query=READ_ONE, bias=bias)


SITES = ("0.attn", "0.mlp", "1.attn", "1.mlp", "2.final")
SAME_WEIGHTS = {
    # Every source contains the embedding, and the ln 2 cancels: 1 : 3, then 1 : 1 : 3. 0.attn reads x = 1: (1, 1, 0).
    # 0.mlp reads y = 3/4: S1 = (1, 1, 3). 1.attn reads y = 4/5: x = 9/5. 1.mlp reads x = 1/5 + 1/5 + 3/5 * 9/5 = 37/25:
    # z = 3 + 37/25. No read-out.
    "open_block": ([[1 / 4, 3 / 4]] * 2 + [[1 / 5, 1 / 5, 3 / 5]] * 2, [9 / 5, 1, 112 / 25]),
    "wrapped": ([[1 / 4, 3 / 4]] * 2 + [[1 / 5, 1 / 5, 3 / 5]] * 2, [9 / 5, 1, 112 / 25]),
    # A snapshot after each sublayer: 2, 3, 4, 5 sources. 0.mlp reads y = 4/5: z = 16/5. 1.attn reads
    # y = 0 + 1/6 + 1/6 + 1/2 = 5/6: x = 11/6. 1.mlp reads x = 1 + (1/7 + 3/7) 5/6 = 31/21: z = 16/5 + 31/21 = 491/105.
    "open_full": ([[*[1 / n] * (n - 3), 3 / n] for n in (4, 5, 6, 7)], [11 / 6, 1, 491 / 105]),
    # S1 = (1, 1, 3) as in open_block. 1.attn reads before block 1 is committed: E, S1, y = 3/4: state (3/4, 0, 0).
    # Then E, S1 and a state without the embedding, with the bias: 2 : 2 : 3, and norms divide by 4/7. 1.mlp reads
    # 1/2 E + 1/2 S1 + 3/4 state, x = 1 + 9/16: state (3/4, 0, 25/16). The read-out is
    # 1/2 (1, 0, 0) + 1/2 (1, 1, 3) + 3/4 (3/4, 0, 25/16).
    "open_reset": ([[1 / 4, 3 / 4]] * 3 + [[2 / 7, 2 / 7, 3 / 7]] * 2, [25 / 16, 1 / 2, 171 / 64]),
    # The embedding alone; then 2 : 1, no bias: 0.mlp reads E + 1/2 (0, 1, 0), block 1 is (0, 1, 2). 1.attn reads
    # E + 1/2 (0, 1, 2), y = 1/2: state (1/2, 0, 0). Then E, block 1, state, 2 : 1 : 1: 1.mlp reads
    # E + 1/2 (0, 1, 2) + 1/2 (1/2, 0, 0), x = 5/4. The read-out is E + 1/2 (0, 1, 2) + 1/2 (1/2, 0, 5/4).
    "kimi_block": ([[1], *[[2 / 3, 1 / 3]] * 2, *[[1 / 2, 1 / 4, 1 / 4]] * 2], [5 / 4, 1 / 2, 13 / 8]),
}


def same_weights_by_site(kind):
    return {site: near(weights) for site, weights in zip(SITES, SAME_WEIGHTS[kind][0], strict=False)}


@pytest.mark.parametrize("kind", SAME_WEIGHTS)
def test_same_weights_give_each_dialect_its_own_depth_weights_and_logits(tmp_path, kind):
    model = same_weights(tmp_path, kind)
    assert model.dialect == kind
    assert depth_weights(model, [0, 1]) == same_weights_by_site(kind)
    assert logits(model, [0, 1]) == near(SAME_WEIGHTS[kind][1])


@pytest.mark.parametrize(
    ("kind", "ablation", "site", "weights", "expected"),
    [
        # 1 : 3 are left. 1.attn reads y = 3/4: x = 7/4; 1.mlp reads x = 1 + 3/5 * 3/4 = 29/20.
        ("open_block", ac.drop(ac.RECENT, ac.ATTN, SECOND), "1.attn", [1 / 4, 0, 3 / 4], [7 / 4, 1, 89 / 20]),
        # 0.mlp reads the embedding alone: z = 0. 1.attn reads y = 4/5 and 1.mlp x = 37/25 as without the drop.
        ("wrapped", ac.drop(ac.CURRENT, ac.MLP, FIRST), "0.mlp", [1, 0], [9 / 5, 1, 37 / 25]),
        # 1 : 1 : 3 are left; older is the snapshot before MLP 0. 1.attn reads y = 4/5; 1.mlp x = 1 + 4/7 * 4/5 = 51/35.
        ("open_full", ac.drop(ac.OLDER, ac.ATTN, SECOND), "1.attn", [1 / 5, 0, 1 / 5, 3 / 5], [9 / 5, 1, 163 / 35]),
        # 2 : 3 are left: block 1 still holds the embedding. 1.mlp reads S1 + 3/2 (3/4, 0, 0), x = 17/8.
        # Read-out: 1/2 (1, 0, 0) + 1/2 (1, 1, 3) + 3/4 (3/4, 0, 17/8).
        ("open_reset", ac.drop(ac.EMBEDDING, ac.MLP, SECOND), "1.mlp", [0, 2 / 5, 3 / 5], [25 / 16, 1 / 2, 99 / 32]),
        # 2 : 1 are left. 1.mlp reads x = 1. Read-out: E + 1/2 (0, 1, 2) + 1/2 (1/2, 0, 1).
        ("kimi_block", ac.drop(ac.CURRENT, ac.MLP, SECOND), "1.mlp", [2 / 3, 1 / 3, 0], [5 / 4, 1 / 2, 3 / 2]),
        # Read-out: E + 1/2 (1/2, 0, 5/4), without block 1.
        ("kimi_block", ac.drop(ac.RECENT, ac.FINAL), "2.final", [2 / 3, 0, 1 / 3], [5 / 4, 0, 5 / 8]),
    ],
)
def test_a_drop_renormalises_and_reaches_the_logits(tmp_path, kind, ablation, site, weights, expected):
    model = same_weights(tmp_path, kind)
    assert depth_weights(model, [0, 1], ablation) == {**same_weights_by_site(kind), site: near(weights)}
    assert logits(model, [0, 1], ablation) == near(expected)


POSITION_1 = {
    # E = (3, 0, 0), A0 = (1 + 3) / 2 = 2; 0.mlp reads y = 3/4 * 2: S1 = (3, 2, 6). 1.attn reads y = 4/5 and 8/5, mean
    # 6/5: x = 21/5. 1.mlp reads x = 3 + 3/5 * 6/5 = 93/25.
    "open_block": [21 / 5, 2, 243 / 25],
    # 0.mlp reads y = 1/2 * 2: block 1 is (0, 2, 4). 1.attn reads y = 1/2 and 1, mean 3/4. 1.mlp reads
    # x = 3 + 1/2 * 3/4 = 27/8. Read-out: (3, 0, 0) + 1/2 (0, 2, 4) + 1/2 (3/4, 0, 27/8).
    "kimi_block": [27 / 8, 1, 59 / 16],
}


# A linear chain. All weights are 1/2. Attention 0: y += x. MLP 0: z += 2 y; it reads y = 1/2 and writes 1. Attention 1:
# y += 2 z; it reads z = 1/2 and writes 1. The logit is y + z = 2 + 1. Without the current state MLP 0 writes 0: the
# logit is 1. Told to the last norm alone, z is 0 and y is 2; told to attention 1 alone, z is 1 and y is 1.
@pytest.mark.parametrize(
    ("via", "expected"),
    [
        (None, 1),
        (ac.FINAL, 2),
        (ac.reads(ac.CURRENT, ac.ATTN, SECOND), 2),
        (ac.reads(ac.CURRENT, ac.MLP, SECOND), 3),  # (it reads z, and writes nothing)
        (ac.reads(ac.CURRENT, ac.ALL_SITES), 1),
    ],
)
def test_a_total_effect_is_the_direct_one_and_that_of_the_edge(tmp_path, via, expected):
    layers = [(move(X, Y), move(Y, Z, 2.0)), (move(Z, Y, 2.0), ZERO)]
    embedding, head = [[1.0, 0.0, 0.0, ANCHOR]] * 2, [[0.0, 1.0, 1.0, 0.0], axis(X)]
    model = micro(tmp_path, "open_block", layers, embedding, head, gain=GAIN)
    assert logits(model, [0]) == near([3, 1])
    assert logits(model, [0], ac.drop(ac.CURRENT, ac.MLP, FIRST, via=via)) == near([expected, 1])


@pytest.mark.parametrize("kind", POSITION_1)
def test_attention_averages_over_the_positions_so_far(tmp_path, kind):
    assert logits(same_weights(tmp_path, kind), [0, 1, 2], position=1) == near(POSITION_1[kind])


def test_a_large_bias_makes_the_wrapped_baseline_its_vanilla_self(tmp_path):
    """Each sublayer reads the stream: (1, 0, 0), (1, 1, 0), (1, 1, 4), (2, 1, 4), (2, 1, 6)."""
    assert logits(same_weights(tmp_path, "wrapped", bias=20.0), [0, 1]) == near([2, 1, 6])


def test_wrapped_masses_are_the_closed_form(tmp_path):
    """Weights 1 : 3 in layer 0 and 1 : 1 : 3 in layer 1, for any prompt."""
    model = same_weights(tmp_path, "wrapped")
    expected = {
        ac.mass(ac.CURRENT, ac.ATTN): 27 / 40,  # (3/4 + 3/5) / 2
        ac.uniform_mass(ac.CURRENT, ac.ATTN): 5 / 12,  # (1/2 + 1/3) / 2
        ac.mass(ac.RECENT, ac.MLP): 1 / 10,  # (0 + 1/5) / 2
        ac.peak(ac.MLP, SECOND): 3 / 5,
        ac.entropy(ac.MLP, SECOND): 2 / 5 * log(5) + 3 / 5 * log(5 / 3),
    }
    expected |= dict.fromkeys((ac.closed_form_error(ac.MLP), ac.spread(ac.MLP)), 0)
    columns = ac.measure(model, [[0, 1], [1, 0, 2]], expected)
    assert {w: column.tolist() for w, column in columns.items()} == {w: near([e, e]) for w, e in expected.items()}


# Counting. Every attention adds x (1 for token 0, 3 for token 1) to y, and MLPs add what they read of y to z.
# Queries read y: a source of an open dialect weighs 2^y, and y counts the attentions it contains.
def counting(folder, kind, layers, blocks, query=READ_Y, bias=0.0):
    maps, head = [(move(X, Y), move(Y, Z))] * layers, [axis(Y), axis(Z)]
    return micro(folder, kind, maps, ONE_AND_THREE, head, blocks=blocks, gain=GAIN, query=query, bias=bias)


@pytest.mark.parametrize(
    ("kind", "layers", "blocks", "expected"),
    [
        # ceil(3 / 2) = 2 layers a block. y of the sources: 0 0, 0 1, 0 1, 0 2, 0 2 2, 0 2 3.
        ("open_block", 3, 2, [[1, 1], [1, 2], [1, 2], [1, 4], [1, 4, 4], [1, 4, 8]]),
        # Blocks make no difference. y of the sources: 0 0, 0 1 1, 0 1 1 1, 0 1 1 2 2.
        ("open_full", 2, 1, [[1, 1], [1, 2, 2], [1, 2, 2, 2], [1, 2, 2, 4, 4]]),
    ],
)
def test_snapshots_are_taken_at_block_starts_or_before_every_sublayer(tmp_path, kind, layers, blocks, expected):
    found = depth_weights(counting(tmp_path, kind, layers, blocks), [0])
    assert [*found.values()] == [near([count / sum(counts) for count in counts]) for counts in expected]


@pytest.mark.parametrize(
    ("ablation", "last", "expected"),
    [
        # y of the sources at 0.mlp: 0 1, at 1.mlp: 0 1 2, at 2.mlp: 0 1 2 3 (embedding, older, recent, current).
        # They read y = 2/3, (2 + 8) / 7, (2 + 8 + 24) / 15: z = 2/3 + 10/7 + 34/15.
        (None, [1 / 15, 2 / 15, 4 / 15, 8 / 15], 458 / 105),
        # 2.mlp reads (8 + 24) / 13: z = 2/3 + 10/7 + 32/13.
        (ac.drop(ac.OLDER, ac.MLP), [1 / 13, 0, 4 / 13, 8 / 13], 1244 / 273),
        # 1.mlp reads 8 / 5, 2.mlp (2 + 24) / 11: z = 2/3 + 8/5 + 26/11.
        (ac.drop(ac.RECENT, ac.MLP), [1 / 11, 2 / 11, 0, 8 / 11], 764 / 165),
        # 2.mlp reads (2 + 8) / 7: z = 2/3 + 10/7 + 10/7.
        (ac.drop(ac.CURRENT, ac.MLP, THIRD), [1 / 7, 2 / 7, 4 / 7, 0], 74 / 21),
    ],
)
def test_each_family_of_four_sources_is_dropped_in_its_place(tmp_path, ablation, last, expected):
    model = counting(tmp_path, "open_block", 3, 3)
    assert depth_weights(model, [0], ablation)["2.mlp"] == near(last)
    assert logits(model, [0], ablation) == near([3, expected])


@pytest.mark.parametrize(
    ("kind", "ablation", "weights", "expected"),
    [
        # Three layers in two blocks: block 1 has y = 2, the current state y = 1. The query reads ONE.
        # 2 : 1 : 1, so E + 1/2 block 1 + 1/2 current.
        ("kimi_block", None, [1 / 2, 1 / 4, 1 / 4], 3 / 2),
        ("kimi_block", ac.drop(ac.RECENT, ac.FINAL), [2 / 3, 0, 1 / 3], 1 / 2),
        ("kimi_block", ac.drop(ac.CURRENT, ac.FINAL), [2 / 3, 1 / 3, 0], 1),
        # 2 : 2 : 3 with the bias, block 1 holding the embedding: 1/2 E + 1/2 block 1 + 3/4 current.
        ("open_reset", None, [2 / 7, 2 / 7, 3 / 7], 7 / 4),
        # E + 3/2 current; 1/2 E + 1/2 block 1; block 1 + 3/2 current.
        ("open_reset", ac.drop(ac.RECENT, ac.FINAL), [2 / 5, 0, 3 / 5], 3 / 2),
        ("open_reset", ac.drop(ac.CURRENT, ac.FINAL), [1 / 2, 1 / 2, 0], 1),
        ("open_reset", ac.drop(ac.EMBEDDING, ac.FINAL), [0, 2 / 5, 3 / 5], 7 / 2),
    ],
)
def test_a_block_sum_holds_its_own_two_layers_and_no_other(tmp_path, kind, ablation, weights, expected):
    model = counting(tmp_path, kind, 3, 2, query=READ_ONE, bias=LN3)
    assert depth_weights(model, [0], ablation)["3.final"] == near(weights)
    assert logits(model, [0], ablation)[0] == near(expected)


def test_summaries_and_kept_masses_are_means_over_the_scored_positions(tmp_path):
    """At 0.mlp: y = 1 at position 0 (weights 1/3, 2/3), (1 + 3) / 2 = 2 at position 1 (1/5, 4/5); 2 is not scored."""
    drop, mass, peak = ac.drop(ac.CURRENT, ac.MLP), ac.mass(ac.CURRENT, ac.MLP), ac.peak(ac.MLP)
    columns = ac.measure(counting(tmp_path, "open_block", 1, 1), [[0, 1, 1]], [drop, mass, peak, ac.entropy(ac.MLP)])
    assert columns[mass].tolist() == columns[peak].tolist() == near([11 / 15])
    # 1/3 ln 3 + 2/3 ln 3/2 and 1/5 ln 5 + 4/5 ln 5/4, halved.
    assert columns[ac.entropy(ac.MLP)].tolist() == near([(LN3 - 2 / 3 * LN2 + log(5) - 8 / 5 * LN2) / 2])
    assert (columns.record(drop).kept_mass, columns.record(drop).kept_mass_min) == near((4 / 15, 1 / 5))


def test_spread_is_the_largest_distance_from_the_mean_over_prompts(tmp_path):
    """Current weighs 2/3 behind token 0 and 8/9 behind token 1: 1/9 to either side of 7/9."""
    columns = ac.measure(counting(tmp_path, "open_block", 1, 1), [[0, 0], [1, 0]], [ac.spread(ac.MLP)])
    assert columns[ac.spread(ac.MLP)].tolist() == near([1 / 9, 1 / 9])


# Losses. Two layers, one block, tokens with x = 1 and 3, no bias, no query: MLPs read embedding and current, 1/2 each.
# Attention 0: y += x. Both MLPs: z += `times` y, chosen such that each adds 1 to the z of the final state. Logit of
# token 1: z ln 2, of token 0: nothing. So behind token 0 p(1) = 4/5; 2/3 without one MLP, 1/2 without both.
# Behind tokens 0, 1 y is (1 + 3) / 2 = 2, so z doubles: p(1) = 16/17, 4/5, 1/2.
TIMES = {"open_block": 2, "wrapped": 2, "open_full": 2, "open_reset": 4, "kimi_block": 1}
"""MLPs read y / 2 (not in open_full, which has more sources). open_reset reads out 1/2 E + 1/2 current; so does
kimi_block, and with the embedding in E alone its norms divide by 1/2 at every read."""


def losses(folder, kind):
    mlp = move(Y, Z, float(TIMES[kind]))
    return micro(folder, kind, [(move(X, Y), mlp), (ZERO, mlp)], ONE_AND_THREE, [ZERO[0], axis(Z, LN2)], gain=GAIN)


@pytest.mark.parametrize("kind", ["open_block", "wrapped", "open_reset", "kimi_block"])
def test_losses_of_a_drop_are_logs_of_fractions(tmp_path, kind):
    model = losses(tmp_path, kind)
    assert logits(model, [0, 1, 0]) == near([0, log(4)])
    assert logits(model, [0, 1, 0], position=1) == near([0, log(16)])
    both, each = ac.drop(ac.CURRENT, ac.MLP), ac.drop(ac.CURRENT, ac.MLP, per_site=True)
    expected = {
        # Token 1 without both: 4/5 to 1/2. Then token 0 as well, 1/5 to 1/2. Then token 0 behind 0, 1, 1/17 to 1/2.
        both: [log(8 / 5), log(2 / 5 * 8 / 5) / 2, log(8 / 5 * 2 / 17) / 2],
        # Without one: 4/5 to 2/3, 1/5 to 1/3, and 1/17 to 1/5.
        each: [log(6 / 5), log(3 / 5 * 6 / 5) / 2, log(6 / 5 * 5 / 17) / 2],
    }
    # KL of (4/5, 1/5) and, behind 0, 1, of (16/17, 1/17) from (1/2, 1/2); then from (2/3, 1/3) and (4/5, 1/5).
    kl, later = 4 / 5 * log(8 / 5) + 1 / 5 * log(2 / 5), 16 / 17 * log(32 / 17) + 1 / 17 * log(2 / 17)
    expected[both.on(ac.TRAINED, metric=ac.KL)] = [kl, kl, (kl + later) / 2]
    kl, later = 4 / 5 * log(6 / 5) + 1 / 5 * log(3 / 5), 16 / 17 * log(20 / 17) + 1 / 17 * log(5 / 17)
    expected[each.on(ac.TRAINED, metric=ac.KL)] = [kl, kl, (kl + later) / 2]
    expected |= {ac.mass(ac.CURRENT, ac.MLP): [1 / 2] * 3, ac.entropy(ac.MLP): [LN2] * 3, ac.peak(ac.MLP): [1 / 2] * 3}
    columns = ac.measure(model, [[0, 1], [0, 0, 1], [0, 1, 0]], expected)
    assert {what: column.tolist() for what, column in columns.items()} == {w: near(e) for w, e in expected.items()}
    for drop in (both, each):
        record = columns.record(drop)
        assert (record.sites, record.kept_mass, record.kept_mass_min) == (("0.mlp", "1.mlp"), near(1 / 2), near(1 / 2))


@pytest.mark.parametrize("kind", ["open_block", "open_full", "open_reset", "wrapped"])
def test_a_drop_that_helps_has_a_negative_delta_nll(tmp_path, kind):
    """MLPs that no longer read the embedding read all of y: z = 4 and p(1) = 16/17."""
    drop = ac.drop(ac.EMBEDDING, ac.MLP)
    # Clean p(1); in open_full MLPs read y = 0 1 1, then 0 1 1 1 1 uniformly: z = 2 * 2/3 + 2 * 4/5 = 44/15.
    clean = 1 / (1 + 2 ** (-44 / 15)) if kind == "open_full" else 4 / 5
    assert ac.measure(losses(tmp_path, kind), [[0, 1]], [drop])[drop].tolist() == near([log(clean * 17 / 16)])


# Small integers, no anchor, gains one: a norm stretches a state to length 2, (4, 3, 0, 0) to (8/5, 6/5, 0, 0).
# One layer; attention writes `times` X onto Y, the MLP nothing. Logit of token 1: ln 2 (x - y / 2).
def small(folder, kind, length, times, query=ZERO[0]):
    embedding, head = [axis(X, length)] * 2, [ZERO[0], [LN2, -LN2 / 2, 0.0, 0.0]]
    return micro(folder, kind, [(move(X, Y, times), ZERO)], embedding, head, query=query, bias=LN2)


def test_the_read_out_of_kimi_block_is_normalised_and_its_drops_are_exact(tmp_path):
    # Embedding (2, 0), current (0, 2); key logits ln 4/3 and 0: (8/7, 6/7), stretched to (8/5, 6/5): p(1) = 2/3.
    # Without the embedding (0, 2), p(1) = 1/3. Without the current state (2, 0), p(1) = 4/5.
    model = small(tmp_path, "kimi_block", 2.0, 1.0, query=axis(X, log(4 / 3) / 2))
    embedding, current = ac.drop(ac.EMBEDDING, ac.FINAL), ac.drop(ac.CURRENT, ac.FINAL)
    assert depth_weights(model, [0])["1.final"] == near([4 / 7, 3 / 7])
    assert [logits(model, [0], drop)[1] for drop in (None, embedding, current)] == near([LN2, -LN2, log(4)])
    kls = [drop.on(ac.TRAINED, metric=ac.KL) for drop in (embedding, current)]
    columns = ac.measure(model, [[0, 1]], [embedding, current, *kls])
    kl = [2 / 3 * log(2) + 1 / 3 * log(1 / 2), 2 / 3 * log(5 / 6) + 1 / 3 * log(5 / 3)]
    assert [column[0] for column in columns.values()] == near([log(2), log(5 / 6), *kl])
    records = [columns.record(drop) for drop in (embedding, current)]  # from (8/7, 6/7) to (0, 2) and (2, 0)
    assert [(record.kept_mass, record.input_change) for record in records] == [
        near((3 / 7, 8 / 7)),
        near((4 / 7, 6 / 7)),
    ]


@pytest.mark.parametrize(
    ("kind", "family", "kept", "change", "duplicates"),
    [
        # Embedding (4, 0), current (4, 3), 1 : 2, so (4, 2) is read.
        ("open_block", ac.EMBEDDING, 2 / 3, 1, ()),
        ("open_block", ac.CURRENT, 1 / 3, 2, ()),
        ("wrapped", ac.CURRENT, 1 / 3, 2, ()),
        ("open_reset", ac.CURRENT, 1 / 3, 2, ()),
        # Embedding (4, 0), then (4, 3) twice, 1 : 1 : 2: (4, 9/4) is read, then (4, 3), (4, 2), (4, 3/2).
        ("open_full", ac.EMBEDDING, 3 / 4, 3 / 4, ()),
        ("open_full", ac.RECENT, 3 / 4, 1 / 4, ("0.mlp",)),
        ("open_full", ac.CURRENT, 1 / 2, 3 / 4, ("0.mlp",)),
        # Embedding (4, 0), current (0, 3), 1 : 1 without a bias: (2, 3/2) is read.
        ("kimi_block", ac.EMBEDDING, 1 / 2, 2, ()),
        ("kimi_block", ac.CURRENT, 1 / 2, 2, ()),
    ],
)
def test_a_record_says_what_was_kept_and_how_far_the_input_moved(tmp_path, kind, family, kept, change, duplicates):
    drop = ac.drop(family, ac.MLP)
    record = ac.measure(small(tmp_path, kind, 4.0, 1.5), [[0, 1]], [drop]).record(drop)
    assert (record.kept_mass, record.kept_mass_min, record.input_change) == near((kept, kept, change))
    assert (record.sites, record.duplicates, record.no_ops) == (("0.mlp",), duplicates, ())


@pytest.mark.parametrize("kind", ["open_block", "open_full", "open_reset", "wrapped"])
@pytest.mark.parametrize(("family", "kept", "weights"), [(ac.EMBEDDING, 2 / 3, [0, 1]), (ac.CURRENT, 1 / 3, [1, 0])])
def test_a_drop_at_the_first_attention_is_a_structural_no_op(tmp_path, kind, family, kept, weights):
    """Both sources are the embedding (1 : 2): a drop moves weight and nothing else."""
    model, drop = small(tmp_path, kind, 4.0, 1.5), ac.drop(family, ac.ATTN)
    columns = ac.measure(model, [[0, 1]], [drop])
    record = columns.record(drop)
    assert record.duplicates == record.no_ops == ("0.attn",)
    assert depth_weights(model, [0], drop)["0.attn"] == near(weights)
    assert (record.kept_mass, record.input_change, columns[drop][0]) == near((kept, 0, 0))


def test_a_duplicate_at_a_block_start_is_read_less_but_not_lost(tmp_path):
    """1.attn of two blocks: y of the sources 0 1 1, weights 1 : 2 : 2; one of the twins gone, 1 : 2 are left."""
    model, drop = counting(tmp_path, "open_block", 2, 2), ac.drop(ac.RECENT, ac.ATTN)
    record = ac.measure(model, [[0, 1]], [drop]).record(drop)
    assert (record.sites, record.duplicates, record.no_ops) == (("1.attn",), ("1.attn",), ())
    assert record.kept_mass == near(3 / 5)
    assert depth_weights(model, [0], drop)["1.attn"] == near([1 / 3, 0, 2 / 3])


@pytest.mark.parametrize(
    ("kind", "what", "message"),
    [
        ("open_block", ac.drop(ac.OLDER, ac.MLP), "no mlp site in the all band has a source of the family `older`"),
        ("open_block", ac.drop(ac.CURRENT, ac.FINAL), "no final site"),
        ("wrapped", ac.mass(ac.RECENT, ac.ATTN, FIRST), "no attn site in layers 0-0"),
        ("open_reset", ac.drop(ac.RECENT, ac.ATTN), "no attn site"),  # layer 1 reads before block 1 is committed
        ("kimi_block", ac.drop(ac.EMBEDDING, ac.ATTN, FIRST), "no attn site"),  # one source, no choice, no family
        ("kimi_block", ac.entropy(ac.ATTN, FIRST), "addresses no site with more than one source"),
    ],
)
def test_what_a_dialect_has_no_site_for_is_not_applicable(tmp_path, kind, what, message):
    with pytest.raises(ac.NotApplicable, match=message):
        ac.measure(same_weights(tmp_path, kind), [[0, 1]], [what])


def test_a_drop_that_would_empty_sites_is_an_error_that_lists_them():
    """No dialect has such a site, hence bare ones: two of them lose all they have."""
    sources = [(ac.CURRENT,), (ac.CURRENT,) * 2, (ac.EMBEDDING, ac.CURRENT)]
    sites = [Site(layer, ac.MLP, families) for layer, families in enumerate(sources)]
    with pytest.raises(ValueError, match=r"would leave no source at 0\.mlp, 1\.mlp; keep at least one family"):
        resolve(ac.drop(ac.CURRENT, ac.MLP), sites, 3)


# Tokens 0, 1, 2 have x = 2, -2, 0. Attention, which averages over positions, writes y: at the second position of
# [0, 2] y = 1, of [1, 2] y = -1. The query finds ln 3 in y = 1 and -ln 3 in y = -1, so the read-out weighs the
# embedding and the current state 1 : 3 in the prompt, 3 : 1 in its donor; its norm divides by the embedding's weight.
# The answer's lead is y.
@pytest.fixture
def by_hand(tmp_path_factory):
    embedding = [[x, 0.0, 0.0, ANCHOR] for x in (2.0, -2.0, 0.0)]
    head, query = [axis(Y), axis(X), axis(Z)], axis(Y, LN3 / (2 * GAIN))
    layers = [(move(X, Y), ZERO)]
    return micro(tmp_path_factory.mktemp("pair"), "kimi_block", layers, embedding, head, gain=GAIN, query=query)


@pytest.mark.parametrize(
    ("ablation", "lead"),
    [
        (None, 3),  # 3/4 of y = 1, over 1/4
        (ac.interchange(ac.CURRENT, ac.FINAL), -3),  # the donor's state under the own weights: 1.8 of the gap
        (ac.interchange(ac.CURRENT, ac.FINAL, part=ac.WEIGHTS), 1 / 3),  # the own state under the donor's: 0.8 of it
        (ac.interchange(ac.CURRENT, ac.FINAL, part=ac.BOTH), -1 / 3),  # the donor's lead: all of it
        (ac.interchange(ac.EMBEDDING, ac.FINAL), 3),  # the last token is the same
        (ac.interchange(ac.ANY, ac.ALL_SITES, part=ac.BOTH), -1 / 3),
        (ac.sharpen(ac.FINAL, by=2), 9),  # 1 : 9
        (ac.sharpen(ac.FINAL, by=0.5), 3**0.5),
    ],
)
def test_leads_by_hand(by_hand, ablation, lead):
    logits = by_hand.logits(torch.tensor([[0, 2]]), ablation=ablation, donors=[[1, 2]])[0, -1]
    assert float(logits[0] - logits[1]) == near(lead)


def test_a_permutation_of_two_weights_leaves_or_swaps_them(by_hand):
    ratios = set()
    for more in range(12):  # (an order belongs to a prompt; the key of a state is its sign, and so the weights 1 : 3)
        ids = torch.tensor([[0] * (1 + more % 6) + [2] * (1 + more // 6)])
        own, moved = (by_hand.logits(ids, ablation=what)[0, -1, 0] for what in (None, ac.permute(ac.FINAL)))
        ratios.add(round(float(moved / own), 4))
    assert ratios == {1, round(1 / 9, 4)}  # 3 or 1/3 of y
