"""Shape checks at run time, and small real checkpoints that suites can run on."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook
from support.checkpoint_copies import Copy, configure, write_tokenizer
from support.small_suite import CLAIMS
from support.warm_processes import warm

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; torch's threads spin, and slow each other tenfold
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
install_import_hook(
    [f"attnres_core.models.networks.{module}" for module in ("routing", "network", "decoder", "nanogpt", "inkling2")],
    "beartype.beartype",
)

pytest_plugins = ["pytester"]
# A busy machine is no counterexample.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

CONFORMANCE = Path(__file__).parent.parent / "fixtures" / "conformance"


@pytest.fixture(scope="session", autouse=True)
def _notes_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests measure in the clone is noted elsewhere: it would make its claims post hoc."""
    from attnres_core.engine import measuring  # (not before the import hook)
    from attnres_core.registration import ledger

    apart, clone = tmp_path_factory.mktemp("notes"), Path(__file__).parents[1]
    real = ledger.notes_folder
    with pytest.MonkeyPatch.context() as patch:
        for module in (ledger, measuring):
            patch.setattr(module, "notes_folder", lambda here: apart if here.is_relative_to(clone) else real(here))
        yield


@pytest.fixture(scope="session", autouse=True)
def _short_fits() -> Iterator[None]:
    """Constants are fitted in a few steps: most tests ask what becomes of them, not how good they are."""
    from attnres_core.quantities import ablations

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "FIT_STEPS", 3)
        yield


@pytest.fixture(scope="session")
def conformance() -> Path:
    return CONFORMANCE


@pytest.fixture(scope="session")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `trained/` (open_block), `vanilla/` and `prompts.jsonl`: 40 prompts a split, random words."""
    import numpy as np

    root = tmp_path_factory.mktemp("micro")
    for name, source in (("trained", "open_block_11"), ("vanilla", "vanilla_21"), ("kimi", "kimi_block_14")):
        shutil.copytree(CONFORMANCE / source, root / name)
        write_tokenizer(root / name)
    rng = np.random.default_rng(0)
    with (root / "prompts.jsonl").open("w") as stream:
        for index in range(80):
            text = " ".join(f"w{token}" for token in rng.integers(0, 96, rng.integers(10, 30)))
            split = "exploration" if index % 2 else "confirmation"
            stream.write(json.dumps({"id": f"p{index}", "text": text, "split": split}) + "\n")
    return root


@pytest.fixture
def _quiet(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("PYTEST_ADDOPTS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def pytester(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """Pytest's own; its processes are forked from one that has imported what they need, but for `real_processes`."""
    popen = pytester.popen
    if request.node.get_closest_marker("real_processes") is None:
        monkeypatch.setattr(
            pytester, "popen", lambda command, *given, **options: popen(warm(command), *given, **options)
        )
    return pytester


@pytest.fixture
def suite(pytester, micro):
    """Run the claims of small_suite (or others) with given arguments."""

    def run(*arguments, claims=CLAIMS, **files):
        pytester.makepyfile(test_claims=claims, **files)
        return pytester.runpytest_subprocess(
            f"--attnres-trained={micro / 'trained'}",
            f"--attnres-vanilla={micro / 'vanilla'}",
            f"--attnres-prompts={micro / 'prompts.jsonl'}",
            *arguments,
        )

    return run


@pytest.fixture
def copy(tmp_path: Path, conformance: Path) -> Copy:
    """Copies a checkpoint, changing config fields (None removes one)."""

    def copied(name: str = "open_block_11", **changes: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in ("config.json", "model.safetensors"):
            shutil.copy(conformance / name / file, folder)
        return configure(folder, **changes)

    return copied
