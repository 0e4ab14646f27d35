"""The whole map: every family at every site, measured once, resumable, written as a table; screening."""

import subprocess
import sys

import numpy as np
import pandas
import pytest
import torch
from support.small_suite import record_of
from support.warm_processes import warm

import attnres_core as ac
from attnres_core.__main__ import main
from attnres_core.engine.worker import Worker
from attnres_core.exploration import pathway_map
from attnres_core.exploration.screening import screen
from attnres_core.models.networks.overrides import Overrides
from attnres_core.prompts import Split
from attnres_core.quantities.intervention import resolve
from attnres_core.quantities.vocabulary import Role


def make(micro, folder, *arguments):
    given = ["map", str(micro / "trained"), "--prompts", str(micro / "prompts.jsonl"), "--store", str(folder / "store")]
    main([*given, "--out", str(folder / "map.csv"), *arguments])
    return pandas.read_csv(folder / "map.csv")


def test_a_map_has_every_family_at_every_site_and_agrees_with_measure(micro, tmp_path):
    table = make(micro, tmp_path)
    model = ac.load_model(micro / "trained")
    cells = pathway_map.cells(model.checkpoint.sites)
    assert [(row.site, row.family) for row in table.itertuples()] == [(str(s), f.value) for s, f in cells]
    assert set(table.columns) == {*pathway_map.FIELDS, "turn"}
    prompts = ac.load_prompts(micro / "prompts.jsonl").part(Split.EXPLORATION)
    site, family = cells[17]
    effect = pathway_map.cell_quantity(site, family, Role.TRAINED)
    weight = ac.mass(family, site.sublayer, effect.what.layers)
    turned = ac.turn(family, site.sublayer, effect.what.layers)
    columns = ac.measure(model, prompts, [effect, weight, turned])
    row = table.iloc[17]
    assert row.turn == pytest.approx(columns[turned].mean(), abs=1e-6)
    assert row.delta_nll == pytest.approx(columns[effect].mean(), abs=1e-6)
    assert row.mass == pytest.approx(columns[weight].mean(), abs=1e-6)
    assert row.kept_mass == pytest.approx(1 - row.mass, abs=1e-6)
    assert row.delta_nll_low < row.delta_nll < row.delta_nll_high
    by_site = table.groupby("site").mass.sum()
    assert np.abs(by_site - 1).max() < 1e-6  # the families partition every site's weight
    assert (row.n, row.split) == (40, "exploration")


def test_a_map_is_measured_once_and_goes_on_where_it_was(micro, tmp_path, monkeypatch):
    class Enough(BaseException):
        """As an interrupt would."""

    genuine, calls = Worker.measure, []

    def some(self, bundle, missing):
        if len(calls) == 2:
            raise Enough
        calls.append(bundle)
        return genuine(self, bundle, missing)

    monkeypatch.setattr(Worker, "measure", some)
    with pytest.raises(Enough):
        make(micro, tmp_path)
    units = {file: file.stat().st_mtime_ns for file in (tmp_path / "store/units").rglob("*.safetensors")}
    assert len(units) == 2
    monkeypatch.setattr(Worker, "measure", genuine)
    make(micro, tmp_path)
    after = {file: file.stat().st_mtime_ns for file in (tmp_path / "store/units").rglob("*.safetensors")}
    assert units.items() <= after.items()
    make(micro, tmp_path)
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "store/units").rglob("*.safetensors")} == after


def test_parquet_holds_what_csv_holds(micro, tmp_path):
    table = make(micro, tmp_path)
    make(micro, tmp_path, "--out", str(tmp_path / "map.parquet"))
    stored = pandas.read_parquet(tmp_path / "map.parquet")
    pandas.testing.assert_frame_equal(stored, table, check_dtype=False, rtol=1e-12)


SCREENED = ["open_block_11", "kimi_block_14", "open_full_13", "open_reset_12", "delta_null_35", "delta_block_36"]


@pytest.mark.parametrize("folder", SCREENED)
def test_screening_is_the_slope_of_the_loss(folder, conformance):
    """A small step of a sublayer's output towards what it writes on the ablated read: the loss moves by its share."""
    model = ac.load_model(conformance / folder)
    ids = [list(range(3, 15))]
    found = screen(model, ids)
    network, batch = model.network, torch.tensor(ids)

    def loss(site, shift):
        with torch.inference_mode():

            def write(layer, sublayer, read, inputs, output):
                if (layer, sublayer) == (site.layer, site.sublayer):
                    output.state += shift

            hidden = network.run(network.begin(batch), network.prepare(batch), after_write=write)
            logits = network.unembed(hidden)[0, :-1].double()
            return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[0][1:])))

    def output(site, ablation):
        kept = {}
        acting = [] if ablation is None else [resolve(ablation, model.sites, model.num_layers)]
        together = Overrides(acting, ids, torch.arange(len(ids[0]))[None])
        with torch.inference_mode():
            network.run(
                *(network.begin(batch), network.prepare(batch)),
                overrides=together,
                after_write=lambda layer, sublayer, read, inputs, own: kept.setdefault((layer, sublayer), own.state),
            )
        return kept[site.layer, site.sublayer]

    tried = 0
    for number, (site, family) in enumerate(found):
        if number % 5 or site.sublayer is ac.FINAL or not (site.adds_to_state or len(site.sources) > 1):
            continue
        here = range(site.layer, site.layer + 1)
        change = output(site, ac.drop(family, site.sublayer, here)) - output(site, None)
        step = 0.01
        slope = (loss(site, step * change) - loss(site, -step * change)) / (2 * step)
        assert found[site, family][0] == pytest.approx(slope, rel=0.05, abs=2e-5), (str(site), family)
        tried += abs(slope) > 1e-3
    assert tried > 2


def test_screening_says_how_well_it_ranks(micro, tmp_path, capsys):
    table = make(micro, tmp_path, "--screen")
    output = capsys.readouterr().out
    told = [
        f"{name} {pathway_map.agreement(table.to_dict('records'), name):.2f}" for name in ("mass", "turn", "screened")
    ]
    assert f"rank agreement (Spearman) with the exact effects: {', '.join(told)}" in output
    assert (table.screened >= 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "map.txt"], "map.txt: a map is written as .csv or .parquet"),
        (["--memory", "lots"], "give an amount of memory such as 8GiB"),
        (["--prompts", "/no/such.jsonl"], "there is no such prompt file"),
        (["--wrap", "10"], "Only a vanilla checkpoint can be wrapped"),
    ],
)
def test_what_cannot_be_mapped_is_refused_before_measuring(micro, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        make(micro, tmp_path, *arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.usefixtures("_quiet")
def test_a_suite_reuses_a_map_and_its_report_shows_it(micro, pytester):
    given = ["--prompts", micro / "prompts.jsonl", "--store", pytester.path / ".attnres"]
    command = [sys.executable, "-m", "attnres_core", "map", micro / "trained", *given, "--out", pytester.path / "m.csv"]
    subprocess.run(warm(command), check=True, capture_output=True)
    pytester.makepyfile(
        test_claims="""
        from attnres_core import MLP, CURRENT, TRAINED, claim, drop

        @claim(effect=drop(CURRENT, MLP, range(3, 4)).on(TRAINED))
        def test_reuses(effect):
            assert effect > -5
        """
    )
    options = [f"--attnres-{name}={micro / name}" for name in ("trained", "vanilla")]
    pytester.runpytest_subprocess(*options, f"--attnres-prompts={micro / 'prompts.jsonl'}", "-n0")
    record = record_of(pytester)
    table = pandas.read_csv(pytester.path / "m.csv")
    assert record["run"]["bundles_reused"] >= 3  # the exploration chunks
    assert [row["delta_nll"] for row in record["maps"]["trained"]] == pytest.approx(list(table.delta_nll))
    assert "Effect of dropping each family at each site" in (pytester.path / "reports/latest.html").read_text()
