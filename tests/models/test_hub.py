"""Hub ids: revisions, the cache, and what is said when a repository is gated, missing or out of reach. No network."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from support.checkpoint_copies import refusal

import attnres_core as ac
from attnres_core.models.checkpoints.checkpoint import inspect_checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "89abcdef0123456789abcdef0123456789abcdef"
ID = "somebody/some-model"


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache and no network; the folder that the cache's copy of the repository goes to."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable is read at import
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path / "models--somebody--some-model"


@pytest.fixture
def cached(offline, conformance):
    """The repository in the cache at two commits: main is the newer, the tag `v1` the older."""
    for commit, name, source in ((COMMIT, "main", "open_block_11"), (OLDER, "v1", "kimi_block_14")):
        shutil.copytree(conformance / source, offline / "snapshots" / commit)
        (offline / "refs").mkdir(exist_ok=True)
        (offline / "refs" / name).write_text(commit)
    return offline


def refused(monkeypatch, error, *, offline=False):
    """What is said where the download raises this."""

    def fail(*given, **options):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)  # (CI sets it)
    return refusal(ID)


ANSWER = SimpleNamespace(headers={}, request=None)
"""All of a server's answer that the hub's errors look at."""


def test_a_cached_id_loads_offline_and_its_commit_is_known(cached):
    checkpoint = inspect_checkpoint(ID)
    assert (checkpoint.commit, checkpoint.dialect.name) == (COMMIT, "open_block")
    assert (checkpoint.repository, checkpoint.name) == (ID, "some-model")
    assert ac.load_model(ID).checkpoint.weights_digest == checkpoint.weights_digest


@pytest.mark.parametrize("revision", ["v1", OLDER])
def test_a_revision_is_the_one_that_is_read(cached, revision):
    checkpoint = ac.load_model(ID, revision=revision).checkpoint
    assert (checkpoint.commit, checkpoint.dialect.name) == (OLDER, "kimi_block")


def test_a_local_folder_has_no_commit_and_no_revision(conformance):
    folder = conformance / "open_block_11"
    assert (inspect_checkpoint(folder).repository, inspect_checkpoint(folder).commit) == (None, None)
    expected = ("a local folder, and `revision` 'main'", "Leave `revision` out: only a hub id has revisions.")
    assert refusal(folder, revision="main") == expected


def test_a_suite_on_a_hub_id_records_what_it_read(suite, pytester, micro, monkeypatch):
    """The suite in a process of its own, offline, on a cache that holds the repository."""
    cache = pytester.path / "cache"
    for source, repository in (("trained", "trained"), ("vanilla", "vanilla")):
        at = cache / f"models--somebody--{repository}"
        shutil.copytree(micro / source, at / "snapshots" / COMMIT)
        (at / "refs").mkdir()
        (at / "refs" / "v1").write_text(COMMIT)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    suite(
        "--attnres-trained=somebody/trained",
        "--attnres-vanilla=somebody/vanilla",
        "--attnres-revision=v1",
        f"--attnres-vanilla-revision={COMMIT}",
    )
    models = json.loads((pytester.path / "reports" / "latest.json").read_text())["models"]
    assert (models["trained"]["repository"], models["trained"]["commit"]) == ("somebody/trained", COMMIT)
    assert models["trained"]["name"] == "trained"
    assert models["trained"]["path"] == "somebody/trained"  # (not the folder of the cache)
    assert models["wrapped"]["commit"] == COMMIT
    assert models["trained"]["weights_digest"] == inspect_checkpoint(micro / "trained").weights_digest


@pytest.mark.parametrize("revision", ["", 3])
def test_a_revision_that_is_no_word_is_refused(conformance, revision):
    with pytest.raises(ValueError, match=r"`revision` is .*; give a branch, tag or commit, or leave it out"):
        ac.load_model(conformance / "open_block_11", revision=revision)


def test_offline_and_not_in_the_cache_is_said(offline):
    found, remedy = refusal(ID)
    assert found == "offline (HF_HUB_OFFLINE is set), and the cache has no main branch of it"
    assert remedy == f"Unset HF_HUB_OFFLINE, or `hf download {ID}` where there is a network first."


def test_offline_and_a_revision_that_is_not_in_the_cache_is_said(cached):
    assert refusal(ID, revision="v2")[0] == "offline (HF_HUB_OFFLINE is set), and the cache has no revision 'v2' of it"


def test_a_hub_that_cannot_be_reached_is_said(monkeypatch):
    found, remedy = refused(monkeypatch, LocalEntryNotFoundError("no connection"))
    assert found == "no such folder, the model hub cannot be reached, and the cache has no main branch of it"
    assert remedy.startswith("Check the id and the network, or `hf download ")


def test_a_gated_repository_is_said(monkeypatch):
    found, remedy = refused(monkeypatch, GatedRepoError("gated", response=ANSWER))
    assert found == "a gated repository, and this account has no access"
    assert remedy == f"Accept its terms at https://huggingface.co/{ID}, then `hf auth login` or set HF_TOKEN."


def test_a_repository_that_is_not_there_is_said(monkeypatch):
    found, remedy = refused(monkeypatch, RepositoryNotFoundError("none", response=ANSWER))
    assert found == "no such folder, and no such repository on the model hub"
    assert remedy == "Check the id; for a private repository, `hf auth login` or set HF_TOKEN."


def test_a_revision_that_is_not_there_is_said(monkeypatch):
    found, remedy = refused(monkeypatch, RevisionNotFoundError("none", response=ANSWER))
    assert found == "the repository has no main branch"
    assert remedy == f"Its branches and tags are listed at https://huggingface.co/{ID}/tree/main."


@pytest.mark.parametrize("error", [HfHubHTTPError("down", response=ANSWER), OSError("disk full")])
def test_any_other_failure_is_told_as_it_is(monkeypatch, error):
    found, remedy = refused(monkeypatch, error)
    assert found.startswith(f"no such folder, and the model hub did not give it ({type(error).__name__}: ")
    assert remedy == "Check the id and the network; offline, download it first and give the folder."


def test_a_malformed_hub_id_is_refused():
    assert refusal("a b/c d")[0].startswith("no such folder, and no hub id (")


def test_neither_code_nor_pickles_are_asked_for(monkeypatch, tmp_path, conformance):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(conformance / "open_block_11")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    inspect_checkpoint(ID, revision="v1")
    assert asked["revision"] == "v1"
    assert asked["ignore_patterns"] == ["*/*"]
    assert all(pattern.endswith(("safetensors", "json")) for pattern in asked["allow_patterns"])


def test_code_named_in_the_config_is_never_run(tmp_path, conformance):
    folder = shutil.copytree(conformance / "open_block_11", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}
    (folder / "config.json").write_text(json.dumps(config))
    Path(folder / "evil.py").write_text("raise SystemExit('remote code ran')")
    assert ac.load_model(folder).dialect == "open_block"


def test_offline_mode_raised_by_the_library_is_said(monkeypatch):
    found, _ = refused(monkeypatch, OfflineModeIsEnabled("offline"), offline=True)
    assert found.startswith("offline (HF_HUB_OFFLINE is set)")
