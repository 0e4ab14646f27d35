"""`recipe run`: a record for every checkpoint, named for its seed; what could not decide is named."""

import json
import shutil

import pytest
from support.small_suite import ONE

from attnres_core.__main__ import main
from attnres_core.commands.recipe_run import names_of
from attnres_core.engine.store import Store
from attnres_core.records.reading import read_record

pytestmark = pytest.mark.usefixtures("_quiet")


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["recipe", "run", *map(str, arguments)])
    return ended.value.code


def made(folder, **manifest):
    folder.mkdir(parents=True)
    if manifest:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def test_records_are_named_for_seeds_and_steps_for_their_folders(tmp_path):
    seeds = [made(tmp_path / f"s{seed}" / "tiny", recipe={"seed": seed}) for seed in (7, 8)]
    step = made(tmp_path / "s7" / "tiny" / "checkpoint-100", recipe={"seed": 7}, step=100)
    assert names_of([*seeds, step, "owner/model"]) == dict(
        zip(("7", "8", "checkpoint-100", "model"), (*seeds, step, "owner/model"), strict=True)
    )
    with pytest.raises(ValueError, match=r"would both be 7\.json"):
        names_of([seeds[0], seeds[0]])


def test_every_checkpoint_has_its_record_and_one_that_cannot_be_read_is_named(pytester, micro, capfd):
    pytester.makepyfile(test_claims=ONE)
    for seed in (1, 2):
        shutil.copytree(micro / "trained", pytester.path / f"seed-{seed}")
        (pytester.path / f"seed-{seed}" / "manifest.json").write_text(json.dumps({"recipe": {"seed": seed}}))
    given = [
        f"--pytest=--attnres-{name}={micro / file}"
        for name, file in (("vanilla", "vanilla"), ("prompts", "prompts.jsonl"))
    ]
    command = ("--checkpoints", "seed-1", "none", "seed-2", "--claims", "test_claims.py", "--out", "seeds", *given)
    assert run(*command) == 1
    told = capfd.readouterr().out
    assert "2 of 3: none (none)" in told
    assert "none: FAILED, pytest ended with exit status 4" in told
    assert "2 of 3 checkpoints done, 1 failed" in told
    for seed in (1, 2):
        [claim] = read_record(pytester.path / "seeds" / f"{seed}.json")["claims"]
        assert claim["verdict"] == "SUPPORTED"
    parts = ("--checkpoints", "seed-1", "--claims", "test_claims.py", "--shard", "1/2", "--store", "part", *given)
    assert run(*parts) == 0
    assert "1: its part is measured" in capfd.readouterr().out
    assert list((Store(pytester.path / "part").root / "units").iterdir())
