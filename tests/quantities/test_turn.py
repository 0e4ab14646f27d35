"""How far a read turns without a family: by hand, token by token on every dialect, and in old stores."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from support.naive import Naive

import attnres_core as ac
from attnres_core.planning.requests import TURN

FOLDERS = ("open_block_11", "kimi_block_14", "open_full_13", "open_reset_12", "vanilla_21")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_turn_is_what_it_is_token_by_token(folder, conformance, monkeypatch):
    """The angle between the read and the rest of it, worked out from states and weights one token at a time."""
    model = ac.load_model(conformance / folder, **({"wrap": 3.0, "num_blocks": 3} if folder == "vanilla_21" else {}))
    rows = np.random.default_rng(0).integers(0, 96, (3, 6)).tolist()
    naive = Naive(model, rows, monkeypatch)
    wanted = [ac.turn(family, sub) for family in (ac.EMBEDDING, ac.CURRENT, ac.OLDER) for sub in (ac.ATTN, ac.MLP)]
    columns = ac.measure(model, rows, wanted)
    for row, tokens in enumerate(rows):
        found = naive.run(tokens, None)[1]
        for what in wanted:
            turns = []
            for site, (states, weights) in found.items():
                if site.sublayer is not what.sublayer or len(site.sources) < 2:
                    continue
                own = [index for index, family in enumerate(site.sources) if family is what.family]
                for pos in range(len(tokens) - 1):  # (what the last token reads is scored by nothing)
                    whole = weights[:, pos] @ states[:, pos]
                    rest = weights[:, pos].clone()
                    rest[own] = 0
                    turns.append(1 - float(torch.cosine_similarity(whole, rest @ states[:, pos], dim=0)))
            assert columns[what][row] == pytest.approx(np.mean(turns), abs=1e-6), what
    assert max(columns[what].max() for what in wanted) > 0.05


def test_an_old_store_is_asked_for_the_turns_alone(micro, tmp_path):
    """A store without turns: the clean runs are made again, no ablated one, and nothing that is there is rewritten."""
    model = ac.load_model(micro / "trained")
    prompts = ac.load_prompts(micro / "prompts.jsonl").part("exploration", 16)
    drop = ac.drop(ac.CURRENT, ac.MLP, ac.LATE)
    before = ac.measure(model, prompts, [drop], store=tmp_path)
    (file,) = tmp_path.rglob("*.safetensors")
    old = file.read_bytes()
    arrays = load_file(file)
    assert not [name for name in arrays if name.endswith(f"|{TURN}") and not name.startswith("routing")]
    after = ac.measure(model, prompts, [drop, ac.turn(ac.CURRENT, ac.MLP)], store=tmp_path)
    assert file.read_bytes() == old
    assert (after[drop] == before[drop]).all()
    assert after[ac.turn(ac.CURRENT, ac.MLP)].min() > 0


def test_several_families_have_no_turn():
    with pytest.raises(ValueError, match="`family` is recent & older; a turn is measured for one family"):
        ac.turn(ac.RECENT & ac.OLDER, ac.ATTN)
