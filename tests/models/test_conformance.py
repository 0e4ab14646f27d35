"""Our forward pass against the public reference implementations' numbers, and against itself."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import attnres_core as ac
from attnres_core.models.dialects.wrapped import closed_form
from attnres_core.models.networks.overrides import Overrides
from attnres_core.quantities.intervention import Intervention, resolve
from attnres_core.quantities.vocabulary import Family, Joint

FOLDERS = Path(__file__).parents[2] / "fixtures/conformance"
CASES = sorted(folder.name for folder in FOLDERS.iterdir() if (folder / "expected.safetensors").is_file())
TOLERANCE = 1e-4


class Case:
    """One conformance folder: a loaded model, inputs, and what the reference computed."""

    def __init__(self, folder):
        self.about = json.loads((folder / "ablations.json").read_text())
        self.expected = load_file(folder / "expected.safetensors")
        self.model = ac.load_model(folder, wrap=self.about.get("recency_bias"), num_blocks=self.about.get("num_blocks"))
        self.ids, self.mask = self.expected["input_ids"], self.expected["attention_mask"]
        self.real = self.mask.bool()

    def ablated(self, entry):
        """Logits under one of the reference's ablations, by the sources that it names site by site, or by family."""
        if "sources" not in entry:
            return self.model.logits(self.ids, self.mask, self.ablation(entry))
        sites, network = {str(site): site for site in self.model.sites}, self.model.network
        touched = tuple((sites[name], tuple(indices)) for name, indices in entry["sources"].items())
        tokens = [row[own].tolist() for row, own in zip(self.ids, self.real, strict=True)]
        places = (self.real.long().cumsum(-1) - 1).clamp(min=0)
        overrides = Overrides([Intervention("drop", touched)], tokens, places)
        with torch.inference_mode():
            hidden = network.run(network.begin(self.ids), network.prepare(self.ids, self.mask), overrides=overrides)
            return network.unembed(hidden)

    def ablation(self, entry):
        if "mode" in entry:
            return ac.drop({"nonrecent": ac.NONRECENT, "embed": ac.EMBEDDING}[entry["mode"]], ac.ALL_SUBLAYERS)
        (first, last), family = entry["layers"], entry["family"]
        if family == "all":
            names = dict.fromkeys(name for site in self.model.sites for name in site.sources)
            family = Joint(tuple(name for name in Family if name in names))
        return ac.drop(family, entry["sublayer"], range(first, last + 1), stream=entry.get("stream"))


@pytest.fixture(scope="module", params=CASES)
def case(request, conformance):
    return Case(conformance / request.param)


def test_families_are_those_of_the_reference(case):
    ours = {str(site): [family and str(family) for family in site.sources] for site in case.model.sites}
    if "sources" in case.about:
        assert ours == case.about["sources"]


def test_a_family_s_sources_are_those_of_the_reference(case):
    """Asked for by name, an ablation takes the sources that the reference took."""
    for entry in case.about["ablations"]:
        if "sources" in entry and ("family" in entry or entry["mode"] in ("nonrecent", "embed")):
            found = resolve(case.ablation(entry), case.model.sites, case.model.num_layers).touched
            assert {str(site): list(indices) for site, indices in found} == entry["sources"], entry


def test_logits_equal_the_reference(case):
    ours = case.model.logits(case.ids, case.mask)
    assert (ours - case.expected["logits"])[case.real].abs().max() < TOLERANCE


def test_depth_weights_equal_the_reference_at_every_site(case):
    ours = {str(site): weights for site, weights in case.model.depth_weights(case.ids, case.mask).items()}
    theirs = {key.removeprefix("weights."): value for key, value in case.expected.items() if "weights." in key}
    assert ours.keys() == theirs.keys()
    for site, weights in theirs.items():
        assert (ours[site] - weights)[:, case.real].abs().max() < TOLERANCE, site


def test_ablated_logits_equal_the_reference(case):
    for index, entry in enumerate(case.about["ablations"]):
        ours = case.ablated(entry)
        theirs = case.expected[f"ablated.{index}.logits"]
        assert (ours - theirs)[case.real].abs().max() < TOLERANCE, entry


def test_ablation_changes_the_logits(case):
    clean = case.model.logits(case.ids, case.mask)
    for entry in case.about["ablations"]:
        changed = (case.ablated(entry) - clean)[case.real].abs().max()
        if entry.get("max_abs_change") == 0:  # (the reference computes block_v's read for values, and ignores it)
            assert changed == 0, entry
        else:
            assert changed > 1e-2, entry


def test_padding_and_batching_change_nothing(case):
    together = case.model.logits(case.ids, case.mask)
    for row in range(len(case.ids)):
        alone = case.model.logits(case.ids[row : row + 1, case.real[row]])
        assert (together[row, case.real[row]] - alone[0]).abs().max() < 1e-5


def test_right_padding_changes_nothing(case):
    ids = case.ids[:1]
    padded = torch.cat([ids, torch.zeros(1, 3, dtype=ids.dtype)], dim=1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros(1, 3, dtype=ids.dtype)], dim=1)
    alone = case.model.logits(ids)
    assert (case.model.logits(padded, mask)[:, : ids.shape[1]] - alone).abs().max() < 1e-5


def test_wrapped_weights_equal_the_closed_form(conformance):
    model = ac.load_model(conformance / "vanilla_21", wrap=3.0, num_blocks=3)
    ids = torch.arange(20).reshape(2, 10)
    for site, weights in model.depth_weights(ids).items():
        expected = torch.from_numpy(closed_form(len(site.sources), 3.0))[:, None, None]
        assert (weights - expected).abs().max() < 1e-6


def test_wrapped_with_a_large_bias_is_the_vanilla_model(conformance):
    expected = load_file(conformance / "vanilla_21" / "expected.safetensors")
    model = ac.load_model(conformance / "vanilla_21", wrap=20.0, num_blocks=3)
    ours = model.logits(expected["input_ids"], expected["attention_mask"])
    real = expected["attention_mask"].bool()
    assert (ours - expected["vanilla_logits"])[real].abs().max() < 1e-5


def test_wrapped_family_means_are_those_of_the_design(conformance):
    """28 layers in 8 blocks at b = 3: current .919/.831/.761 and older .009/.086/.163 by band."""
    from attnres_core.models.dialects.schedule import sites_of
    from attnres_core.models.dialects.wrapped import Wrapped

    sites = sites_of(Wrapped(28, 8))
    means = {}
    for band in (ac.EARLY, ac.MID, ac.LATE):
        here = [site for site in sites if site.sublayer is ac.ATTN and site.layer in band.layers(28)]
        for family in (ac.EMBEDDING, ac.CURRENT, ac.RECENT, ac.OLDER):
            total = sum(
                weight
                for site in here
                for weight, member in zip(closed_form(len(site.sources), 3.0), site.sources, strict=True)
                if member is family
            )
            means[family, band] = round(total / len(here), 3)
    assert [means[ac.CURRENT, band] for band in (ac.EARLY, ac.MID, ac.LATE)] == [0.919, 0.831, 0.761]
    assert [means[ac.EMBEDDING, band] for band in (ac.EARLY, ac.MID, ac.LATE)] == [0.046, 0.041, 0.038]
    assert [means[ac.RECENT, band] for band in (ac.EARLY, ac.MID, ac.LATE)] == [0.027, 0.041, 0.038]
    assert [means[ac.OLDER, band] for band in (ac.EARLY, ac.MID, ac.LATE)] == [0.009, 0.086, 0.163]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(3, dtype=torch.long), r"`input_ids` has shape \(3,\); give \[batch, pos\], at least one token"),
        (torch.zeros(1, 0, dtype=torch.long), r"`input_ids` has shape \(1, 0\)"),
        (torch.full((1, 2), 96), r"`input_ids\[0, 0\]` is 96; ids run from 0 to 95: tokenise with this model"),
        (torch.full((1, 2), -1), r"`input_ids\[0, 0\]` is -1; ids run from 0 to 95"),
        (torch.zeros(1, 3), "`input_ids` is torch.float32; give a tensor of whole numbers"),
        ([[1, 2]], "`input_ids` is list; give a tensor of whole numbers"),
        (torch.zeros(1, 200, dtype=torch.long), r"`input_ids` has 200 positions; the context is 128"),
    ],
)
def test_malformed_inputs_are_refused(conformance, ids, message):
    model = ac.load_model(conformance / "open_block_11")
    with pytest.raises(ValueError, match=message):
        model.logits(ids)
