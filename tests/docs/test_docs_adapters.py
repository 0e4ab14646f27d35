"""The pages on adapters and architectures: the example runs, the tests that their tables name are there."""

import ast
import re
from pathlib import Path

import torch

from attnres_core.models.checkpoints.recognition import BACKBONES
from attnres_core.testing import CHECKS

ROOT = Path(__file__).parents[2]
ADAPTERS = (ROOT / "docs" / "adapters.md").read_text()


def test_the_worked_example_runs():
    example, in_a_suite = re.findall(r"```python\n(.*?)```", ADAPTERS, re.DOTALL)
    assert len(example.splitlines()) < 80
    found: dict = {}
    exec(compile(example, "docs/adapters.md", "exec"), found)
    assert abs(found["columns"][found["effect"]]).max() > 1e-4
    assert [str(site) for site in found["model"].sites][:3] == ["0.mlp", "1.attn", "1.mlp"]
    assert str(found["model"].sites[-1]) == "4.final"
    exec(compile(in_a_suite, "docs/adapters.md", "exec"), found)
    untrained = found["load"](Path("folder"), device="cpu", dtype=torch.float32, untrained=True)
    assert untrained.sites == found["model"].sites


def test_every_cell_of_the_table_of_architectures_names_a_test_that_is_there():
    named = dict(re.findall(r"^- (\w+): `(.+)`$", ADAPTERS, re.MULTILINE))
    for place in named.values():
        file, _, name = place.partition("::")
        functions = {node.name for node in ast.parse((ROOT / file).read_text()).body if hasattr(node, "name")}
        assert name in functions, place
    rows = [line.split("|")[2:-1] for line in ADAPTERS.splitlines() if line.startswith("| ") and line.count("|") == 9]
    assert len(rows) == 14
    used = set()
    for cell in (cell.strip() for row in rows[1:] for cell in row):
        labels = set(re.findall(r"\b([A-Z]\d?)\b", cell))
        assert labels or cell in ("none", "not tested") or cell.startswith("no:"), cell
        used |= labels
    assert used == set(named)


def test_every_test_that_the_page_of_architectures_names_is_there_and_every_checkpoint_in_it():
    page = (ROOT / "docs" / "architectures.md").read_text()
    named = dict(re.findall(r"^- (\w+): `(tests/.+)`$", page, re.MULTILINE))
    assert len(named) > 10
    for place in named.values():
        file, _, name = place.partition("::")
        functions = {node.name for node in ast.parse((ROOT / file).read_text()).body if hasattr(node, "name")}
        assert name in functions, place
    cells = re.findall(r"(?:yes|no): ((?:[A-Z]\d?(?: \([a-z]+\))?(?:, )?)+)", page)
    assert set(re.findall(r"\b[A-Z]\d?\b", " ".join(cells))) == set(named)
    folders = {folder.parent.name for folder in ROOT.glob("fixtures/conformance/*/expected.safetensors")}
    assert set(re.findall(r"\| `(\w+_\d\d)` \|", page)) == folders
    assert {f"`{kind}`" for kind in BACKBONES} <= set(re.findall(r"`\w+`", page))


def test_every_check_of_the_kit_is_documented():
    for check in CHECKS:
        assert f"`{check.__name__}`" in ADAPTERS, check.__name__
