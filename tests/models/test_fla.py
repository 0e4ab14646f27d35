"""FLA's own package on a CPU: its models give the numbers that its code gave, and its defects are errors or mended."""

import json
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.checkpoint_copies import configure, refusal, rewrite

import attnres_core as ac
from attnres_core.models.adapters import fla_on_cpu, foreign_loading, named
from attnres_core.models.adapters.adapter import AdapterError
from attnres_core.models.networks.overrides import Overrides
from attnres_core.quantities.intervention import Intervention

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build" / "fla"
"""Where `make fla` puts the package: beside the environment, which would otherwise hold Triton too."""
VECTORS = {"gla": ROOT / "fixtures/adapted/fla_gla_44", "transformer": ROOT / "fixtures/conformance/fla_transformer_42"}


@pytest.fixture(scope="module", autouse=True)
def _package():
    """The package on Python's path for these tests alone; its modules stay, for they cannot be imported twice."""
    if not PACKAGES.is_dir():
        pytest.skip("FLA's package is not in build/fla; type: make fla")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PACKAGES)
        patch.setenv(fla_on_cpu.INTERPRET, "")
        yield


@pytest.fixture(scope="module")
def mla(tmp_path_factory):
    """A family that has no vectors: two layers, random weights, pseudo-queries that matter."""
    fla_on_cpu.prepare()
    from fla.models import MLAConfig
    from transformers import AutoModelForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_heads": 2, "vocab_size": 96}
    ranks = {"q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "qk_head_dim": 16}
    plain = {"fuse_norm": False, "fuse_swiglu": False, "fuse_cross_entropy": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = MLAConfig(**sizes, **ranks, **plain, v_head_dim=16, max_position_embeddings=64, attnres_block_size=2)
        torch.manual_seed(0)
        network = AutoModelForCausalLM.from_config(config)
    for name, parameter in network.named_parameters():
        if "res_proj" in name:
            torch.nn.init.normal_(parameter)
    folder = tmp_path_factory.mktemp("mla")
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["gla", "transformer"])
def family(request):
    folder = VECTORS[request.param]
    model = ac.load_model(folder, adapter="fla")  # (the transformer would be computed by the library)
    return model, json.loads((folder / "ablations.json").read_text()), load_file(folder / "expected.safetensors")


def test_logits_weights_and_ablated_logits_are_those_of_its_own_code(family):
    model, about, expected = family
    ids, mask, network = expected["input_ids"], expected["attention_mask"], model.network
    real, sites = mask.bool(), {str(site): site for site in model.sites}
    assert str(model.sites[-1]) == f"{model.num_layers}.final"
    assert (model.logits(ids, mask) - expected["logits"])[real].abs().max() < 1e-4
    weights = {f"weights.{site}": own for site, own in model.depth_weights(ids, mask).items()}
    assert weights.keys() == {key for key in expected if key.startswith("weights.")}
    for key, own in weights.items():
        assert (own - expected[key])[:, real].abs().max() < 1e-5, key
    tokens, places = [row[own].tolist() for row, own in zip(ids, real, strict=True)], (mask.cumsum(-1) - 1).clamp(min=0)
    for index, entry in enumerate(about["ablations"]):
        touched = tuple((sites[name], tuple(indices)) for name, indices in entry["sources"].items())
        overrides = Overrides([Intervention("drop", touched)], tokens, places)
        with torch.inference_mode():
            hidden = network.run(network.begin(ids), network.prepare(ids, mask), overrides=overrides)
            found = network.unembed(hidden)
        assert (found - expected[f"ablated.{index}.logits"])[real].abs().max() < 1e-4, entry


def test_padding_on_either_side_changes_nothing(family):
    """With a cache, which its models make unless told not to, padding on the right is wrong by 0.5 and more."""
    model, _, expected = family
    ids, zeros = expected["input_ids"][:1], torch.zeros(1, 3, dtype=torch.long)
    alone = model.logits(ids)
    for side in ("left", "right"):
        order = [zeros, ids] if side == "left" else [ids, zeros]
        mask = torch.cat([torch.zeros_like(part) if part is zeros else torch.ones_like(part) for part in order], 1)
        found = model.logits(torch.cat(order, 1), mask)[:, mask[0].bool()]
        assert (found - alone).abs().max() < 1e-5, side


def test_a_family_without_vectors_is_what_its_own_code_computes_with_the_call_read_plainly(mla, monkeypatch):
    model = ac.load_model(mla)
    network, ids = model.network.network, torch.arange(8)[None]
    assert [str(site) for site in model.sites] == ["0.mlp", "1.attn", "1.mlp", "2.final"]
    with torch.inference_mode():
        assert (model.logits(ids) - network(ids).logits).abs().max() < 1e-5
    modelling, shared = sys.modules[type(network).__module__], sys.modules["fla.models.modeling_utils"]

    def without_the_embedding(query, residuals, rms_weight, output_rms_weight=None, rms_eps=1e-6, **options):
        return naive(query, residuals[1:], rms_weight, output_rms_weight, rms_eps)

    naive = modelling.fused_attnres
    for module in (modelling, shared):
        monkeypatch.setattr(module, "fused_attnres", without_the_embedding)
    with torch.inference_mode():
        expected = network(ids).logits
    monkeypatch.undo()
    found = model.logits(ids, ablation=[ac.drop(ac.EMBEDDING, ac.ALL_SITES)])
    assert (found - model.logits(ids)).abs().max() > 0.01
    assert (found - expected).abs().max() < 1e-5


def test_a_package_s_own_adapter_is_used_and_an_untrained_model_can_be_made(mla):
    """As the suite makes it: seeded, its pseudo-queries zero, so that every weight is one of equal ones."""
    checkpoint = ac.load_model(mla).checkpoint
    assert (checkpoint.adapter, checkpoint.makes_untrained) == ("fla", True)
    models = [named.run("fla", mla, device="cpu", dtype=torch.float32, untrained=True) for _ in range(2)]
    ids = torch.arange(6)[None]
    assert torch.equal(*(model.logits(ids) for model in models))
    assert all(torch.allclose(own, torch.tensor(1 / len(own))) for own in models[0].depth_weights(ids).values())


def test_a_site_whose_call_is_not_seen_is_an_error(mla, monkeypatch):
    """The read-out of families that inherit their `forward`, when only their own modules are looked through."""
    found = named.modules_calling
    monkeypatch.setattr(foreign_loading, "modules_calling", lambda *given: found(*given)[:1])
    with pytest.raises(
        AdapterError, match=r"^no call was seen to read with model.res_proj.weight \(seen: fla.models.mla"
    ):
        ac.load_model(mla)


def test_what_cannot_be_used_here_says_why(mla, monkeypatch):
    monkeypatch.setitem(sys.modules, "fla", None)
    with pytest.raises(ac.UnsupportedCheckpoint, match="need the package `fla`, which is not installed"):
        ac.load_model(mla)
    monkeypatch.undo()

    def missing():
        raise ImportError("Please install Flash Attention")

    monkeypatch.setattr(fla_on_cpu, "prepare", missing)
    found, remedy = refusal(mla)
    assert found == "a FLA checkpoint, and `fla` cannot be used here (Please install Flash Attention)"
    assert remedy == "Install what it needs: pip install 'attnres-core[fla]'."


def test_a_benchmark_s_faster_adapter_gives_the_same_numbers(monkeypatch):
    """torch's formulas and the package's own reference in the place of interpreted kernels."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "adapters")
    expected = load_file(VECTORS["gla"] / "expected.safetensors")
    real = expected["attention_mask"].bool()
    try:
        model = ac.load_model(VECTORS["gla"], adapter="gla_in_torch:load")
        found = model.logits(expected["input_ids"], expected["attention_mask"])
    finally:
        sys.modules["gla_in_torch"].restore()
    assert (found - expected["logits"])[real].abs().max() < 1e-4


def test_a_damaged_checkpoint_is_refused(mla, tmp_path):
    folder = Path(shutil.copytree(mla, tmp_path / "mla"))
    rewrite(folder, lambda tensors: tensors.pop("model.norm.weight"))
    assert refusal(folder)[0] == "missing keys: model.norm.weight"
    (folder / "adapter_config.json").write_text("{}")
    assert refusal(folder)[0].startswith("adapter_config.json")


@pytest.mark.parametrize("options", [{"wrap": 10.0}, {"num_blocks": 2}])
def test_it_is_neither_wrapped_nor_spread(mla, options):
    assert refusal(mla, **options)[0] == f"a checkpoint that the adapter fla reads, and `{next(iter(options))}`"
    with pytest.raises(ValueError, match=r"^`device_map` is for models that the library computes, and .* adapter fla"):
        ac.load_model(mla, device_map="balanced")


def test_a_change_of_weights_or_config_is_another_model(mla, tmp_path):
    folder = Path(shutil.copytree(mla, tmp_path / "mla"))
    before = ac.load_model(folder).checkpoint.digest
    assert ac.load_model(configure(folder, norm_eps=1e-5)).checkpoint.digest != before


@pytest.mark.parametrize("window", [(-1, -1), (2, 0)])
def test_attention_without_flash_attn_is_causal_from_the_last_key(window):
    """Grouped heads; fewer queries than keys stand at the end; documents do not see each other."""
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 5, 4, 8), torch.randn(1, 5, 2, 8), torch.randn(1, 5, 2, 8)
    whole = fla_on_cpu.attend(q, k, v, causal=True, window_size=window)
    for head in range(4):
        for at in range(5):
            first = 0 if window[0] < 0 else max(0, at - window[0])
            keys, values = (each[0, first : at + 1, head // 2] for each in (k, v))
            expected = (keys @ q[0, at, head] * 8**-0.5).softmax(0) @ values
            torch.testing.assert_close(whole[0, at, head], expected)
    last = fla_on_cpu.attend(q[:, -2:], k, v, causal=True, window_size=window)
    torch.testing.assert_close(last, whole[:, -2:])
    starts = torch.tensor([0, 2, 5])
    apart = fla_on_cpu.attend_by_document(q[0], k[0], v[0], starts, starts, 3, 3, causal=True, window_size=window)
    for first, stop in ((0, 2), (2, 5)):
        own = (each[:, first:stop] for each in (q, k, v))
        torch.testing.assert_close(apart[first:stop], fla_on_cpu.attend(*own, causal=True, window_size=window)[0])
