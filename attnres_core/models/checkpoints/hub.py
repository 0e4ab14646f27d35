"""The place of a checkpoint's files: a local folder, or a revision of a hub repository, from cache or network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from attnres_core.models.errors import CheckpointNotFound

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json")
"""What is downloaded: weights, configs and tokenizer of the repository's top folder. Never code, never pickles."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Located(NamedTuple):
    """A checkpoint's folder."""

    folder: Path
    repository: str | None
    """The hub repository that it is a copy of; None: a local folder."""
    commit: str | None
    """The commit of that repository."""


def locate(path_or_repo_id: str | Path, revision: str | None = None) -> Located:
    """The folder of a checkpoint; of a hub id, downloaded into huggingface_hub's cache unless it is there.

    Args:
        path_or_repo_id: a folder, or `owner/name` on the model hub.
        revision: a branch, tag or commit of the hub repository; default: its main branch.

    Raises:
        CheckpointNotFound: there is no such folder, repository or revision, or it cannot be reached: says which.
    """
    if not isinstance(path_or_repo_id, (str, Path)):
        raise ValueError(f"a checkpoint is {path_or_repo_id!r}; give a folder or a hub id")
    if revision is not None and (not isinstance(revision, str) or not revision):
        raise ValueError(f"`revision` is {revision!r}; give a branch, tag or commit, or leave it out")
    path = Path(os.path.expanduser(path_or_repo_id))  # Path.expanduser raises RuntimeError on an unknown user
    if path.is_dir():
        if revision is not None:
            remedy = "Leave `revision` out: only a hub id has revisions."
            raise CheckpointNotFound(path, f"a local folder, and `revision` {revision!r}", remedy)
        return Located(path.resolve(), None, None)
    text = str(path_or_repo_id)
    if isinstance(path_or_repo_id, Path) or text.startswith((".", "/", "~")) or text.count("/") != 1:
        raise CheckpointNotFound(text, "there is no such folder", "Give a save_pretrained folder or a hub id.")
    return _downloaded(text, revision)


def _downloaded(name: str, revision: str | None) -> Located:
    import huggingface_hub
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f"revision {revision!r}" if revision else "main branch"
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=list(WANTED), ignore_patterns=["*/*"]
            )
        )
    except GatedRepoError as error:  # (a RepositoryNotFoundError, too)
        remedy = f"Accept its terms at https://huggingface.co/{name}, then `hf auth login` or set HF_TOKEN."
        raise CheckpointNotFound(name, "a gated repository, and this account has no access", remedy) from error
    except RevisionNotFoundError as error:
        remedy = f"Its branches and tags are listed at https://huggingface.co/{name}/tree/main."
        raise CheckpointNotFound(name, f"the repository has no {at}", remedy) from error
    except RepositoryNotFoundError as error:
        remedy = "Check the id; for a private repository, `hf auth login` or set HF_TOKEN."
        raise CheckpointNotFound(name, "no such folder, and no such repository on the model hub", remedy) from error
    except HFValidationError as error:
        remedy = "Give a save_pretrained folder or a hub id."
        raise CheckpointNotFound(name, f"no such folder, and no hub id ({error})", remedy) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        found, remedy = _unreachable(name, at, huggingface_hub.constants.HF_HUB_OFFLINE)
        raise CheckpointNotFound(name, found, remedy) from error
    except (HfHubHTTPError, OSError) as error:
        found = f"no such folder, and the model hub did not give it ({type(error).__name__}: {error})".strip()
        remedy = "Check the id and the network; offline, download it first and give the folder."
        raise CheckpointNotFound(name, found, remedy) from error
    return Located(folder, name, folder.name if _COMMIT.fullmatch(folder.name) else None)


def _unreachable(name: str, at: str, offline: bool) -> tuple[str, str]:
    """Return what is said where neither cache nor network has it."""
    get = f"`hf download {name}` where there is a network"
    if offline:
        return (
            f"offline (HF_HUB_OFFLINE is set), and the cache has no {at} of it",
            f"Unset HF_HUB_OFFLINE, or {get} first.",
        )
    found = f"no such folder, the model hub cannot be reached, and the cache has no {at} of it"
    return found, f"Check the id and the network, or {get} and copy the cache (HF_HOME) or the folder here."
