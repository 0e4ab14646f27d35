"""What the plug-in costs those who have no claims, in modules: every pytest run of their environment loads it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("_quiet")

PLAIN = "def test_plain():\n    assert True\n"
CLAIM = """
import pytest
from attnres_core import ATTN, CURRENT, EARLY, EMBEDDING, MLP, TRAINED, claim, drop, mass

@claim(effect=drop(EMBEDDING, MLP, EARLY).on(TRAINED), under=[drop, "resample"])
def test_claim(effect):
    assert effect > 0.02

@pytest.mark.parametrize("share", [mass(CURRENT, ATTN).on(TRAINED)])
def test_parametrized(share):
    assert abs(share) < 0.5
"""
WATCH = """
import json, os, sys

def pytest_unconfigure(config):
    name = getattr(config, "workerinput", {}).get("workerid", "main")
    with open(f"modules-{name}.json", "w") as stream:
        json.dump(sorted(sys.modules), stream)
"""
HEAVY = {"torch", "scipy", "pandas", "numpy", "transformers", "statsmodels", "altair", "jinja2"}
HEAVY |= {"tqdm", "psutil", "filelock", "tokenizers", "safetensors", "huggingface_hub"}
ENTRY = {"", ".plugin", *(f".plugin.{name}" for name in ("options", "progress", "reporter", "session"))}
ENTRY |= {".amounts", ".files", ".engine", ".engine.run_folder"}


@pytest.fixture
def modules(tmp_path):
    """Run pytest with a conftest in an empty folder; what each process has imported, by its name."""

    def run(test: str, *arguments: str) -> dict[str, set[str]]:
        (tmp_path / "test_it.py").write_text(test)
        (tmp_path / "conftest.py").write_text(WATCH)
        for old in tmp_path.glob("modules-*.json"):
            old.unlink()
        # (jaxtyping's own plug-in imports numpy, and would hide that ours does)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:jaxtyping", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
        found = {file.stem.removeprefix("modules-"): file for file in tmp_path.glob("modules-*.json")}
        return {name: set(json.loads(file.read_text())) for name, file in found.items()}

    return run


def environment() -> dict[str, str]:
    """This one, with the library that is tested here first on the path."""
    root = Path(__file__).parent.parent.parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))}


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.partition(".")[0] == "attnres_core"}


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_run_without_claims_imports_the_entry_point_alone(modules, workers):
    without = modules(PLAIN, "-n", workers, "-p", "no:attnres_core.plugin")
    with_it = modules(PLAIN, "-n", workers)
    assert with_it.keys() == without.keys() == {"main"} | {f"gw{index}" for index in range(int(workers))}
    for process, names in with_it.items():
        # Other installed plug-ins may import some of these: what counts is what this one adds.
        added = names - without[process]
        assert added & HEAVY == set()
        assert ours(added) == {f"attnres_core{name}" for name in ENTRY}
        assert len(added) < 15, sorted(added)


def test_collecting_claims_imports_no_statistics_and_no_models(modules):
    without = modules(PLAIN, "--collect-only", "-p", "no:attnres_core.plugin")
    with_it = modules(CLAIM, "--collect-only")
    added = with_it["main"] - without["main"]
    assert added & HEAVY == set()
    beyond = ours(added) - {f"attnres_core{name}" for name in ENTRY}
    assert {name.split(".")[1] for name in beyond} == {"claims", "plugin", "quantities"}


def test_importing_the_public_face_imports_nothing_of_it():
    code = "import attnres_core, sys; print(*(name for name in sys.modules if name.startswith('attnres_core')))"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["attnres_core"]
