"""CONTRIBUTING's recipes work as written: two are followed in a copy of the library, and run through a suite."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "attnres_core"

SCHEDULE = '''\
"""`mlp_block`: a block opens with an MLP instead of an attention."""

from __future__ import annotations

from typing import ClassVar

from attnres_core.models.dialects.open_block import OpenBlock
from attnres_core.quantities.vocabulary import Sublayer


class MlpBlock(OpenBlock):
    """Snapshots of the stream, taken before MLPs."""

    name: ClassVar[str] = "mlp_block"

    def starts_block(self, layer: int, sublayer: Sublayer) -> bool:
        """Whether this is a block's first sublayer."""
        return sublayer is Sublayer.MLP and layer % self.layers_per_block == 0
'''
METRIC_ROW = '''
    DELTA_MARGIN = (
        "delta_margin",
        MetricSpec(
            "nats/token",
            "the mean loss of the most likely token's lead over the next one, nats per token,",
            "lead(x_d) - lead(x_d | do({act}))",
        ),
    )
    """Lead of the clean run's most likely token over the next one minus that of the ablated run's."""
'''
METRIC = '''\
"""Loss of the most likely token's lead over the next one, nats per token."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from attnres_core.engine.metrics import AblatedBlock, CleanBlock, PlainRun
from attnres_core.shapes import Float


def _lead(values: Tensor) -> Tensor:
    first, second = values.topk(2, -1).values.unbind(-1)
    return first - second


def fast(clean: CleanBlock) -> Callable[[AblatedBlock], Float[Tensor, "position"]]:
    """From logits: a norm would cancel."""
    before = _lead(clean.log_p)
    return lambda ablated: before - _lead(ablated.logits)


def plain(clean: PlainRun, ablated: PlainRun) -> Float[Tensor, "pos"]:
    """From logarithms of probabilities."""
    return _lead(clean.log_p) - _lead(ablated.log_p)
'''
CLAIMS = """
from attnres_core import ATTN, CURRENT, EMBEDDING, MLP, TRAINED, claim, drop

@claim(effect=drop(EMBEDDING, MLP).on(TRAINED))
def test_old(effect):
    assert effect > -5
"""
NEW_CLAIM = """

@claim(effect=drop(CURRENT, ATTN).on(TRAINED, metric="delta_margin"))
def test_new(effect):
    assert effect > -50

@claim(effect=drop(EMBEDDING, MLP).on(TRAINED, metric="delta_margin"))
def test_new_of_an_old_ablation(effect):
    assert effect > -50
"""


@pytest.fixture
def copy(tmp_path):
    """The library in a folder of its own, to be extended."""
    shutil.copytree(PACKAGE, tmp_path / "library/attnres_core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "fixtures/prompts", tmp_path / "library/fixtures/prompts")
    return tmp_path / "library"


def add_line(file: Path, after: str, line: str) -> None:
    """Put a line below the one line that matches."""
    text = file.read_text()
    (place,) = re.finditer(after, text, re.MULTILINE)
    file.write_text(text[: place.end()] + line + text[place.end() :])


@pytest.fixture
def decide(copy, micro, tmp_path):
    """Run a file of claims with the extended library; the run's record."""

    def run(claims: str, trained: Path) -> dict:
        folder = tmp_path / "claims"
        folder.mkdir(exist_ok=True)
        (folder / "test_claims.py").write_text(claims)
        given = [f"--attnres-trained={trained}", f"--attnres-vanilla={micro / 'vanilla'}", "-n0"]
        command = [sys.executable, "-m", "pytest", "-p", "attnres_core.plugin", "test_claims.py", *given]
        prompts = f"--attnres-prompts={micro / 'prompts.jsonl'}"
        environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, prompts], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads((folder / "reports/latest.json").read_text())

    return run


def test_a_schedule_is_a_file_and_a_row(copy, decide, micro, tmp_path):
    models = copy / "attnres_core/models"
    (models / "dialects/mlp_block.py").write_text(SCHEDULE)
    add_line(
        models / "checkpoints/backbones/attnres_modes.py",
        r"^from attnres_core\.models\.dialects\.kimi_block import KimiBlock\n",
        "from attnres_core.models.dialects.mlp_block import MlpBlock\n",
    )
    add_line(
        models / "checkpoints/backbones/attnres_modes.py",
        r'^    \(True, False, "block"\): OpenBlock,\n',
        '    (True, False, "mlp"): MlpBlock,\n',
    )
    trained = shutil.copytree(micro / "trained", tmp_path / "mlp-block")
    config = json.loads((trained / "config.json").read_text())
    (trained / "config.json").write_text(json.dumps({**config, "attnres_mode": "mlp"}))
    record = decide(CLAIMS, trained)
    assert record["models"]["trained"]["dialect"] == "mlp_block"
    assert [claim["verdict"] for claim in record["claims"]] == ["SUPPORTED"]
    # At a block's first MLP the newest snapshot and the current source are one tensor; in open_block, at its attention.
    columns = [column for column in record["columns"] if column["name"].startswith("drop(embedding, mlp, all)")]
    assert [len(column["sites_touched"]) for column in columns] == [config["num_hidden_layers"]]


def units_in(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in (folder / ".attnres/units").rglob("*.safetensors")}


def test_a_metric_is_a_row_and_a_file_and_a_store_stays_valid(copy, decide, micro, tmp_path):
    before = decide(CLAIMS, micro / "trained")
    stored = units_in(tmp_path / "claims")
    add_line(copy / "attnres_core/quantities/metrics.py", r'^    """KL\(clean \|\| ablated\).*"""\n', METRIC_ROW)
    (copy / "attnres_core/engine/metrics/delta_margin.py").write_text(METRIC)
    again = decide(CLAIMS, micro / "trained")
    assert units_in(tmp_path / "claims") == stored
    assert again["run"]["bundles_measured"] == 0
    after = decide(CLAIMS + NEW_CLAIM, micro / "trained")
    assert stored.items() <= units_in(tmp_path / "claims").items()
    claims = {claim["node_id"].partition("::")[2]: claim for claim in after["claims"]}
    assert {claim["verdict"] for claim in claims.values()} == {"SUPPORTED"}
    (old,) = before["claims"]
    assert claims["test_old"]["estimate"] == old["estimate"]
    assert claims["test_old"]["interval"] == old["interval"]
    (statement,) = claims["test_new"]["statements"]
    assert statement["unit"] == "nats/token"
    assert statement["noise_floor"] < 1e-4  # (the fast way is held against the plain one)
    assert "lead over the next one" in json.dumps(after["estimands"])
