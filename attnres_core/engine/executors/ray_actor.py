"""What runs in every process of a Ray cluster: one loaded model, and bundles that become units."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
import re
import shutil
import tempfile
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from attnres_core.engine.resources import Resources
from attnres_core.engine.worker import SmallerBatchWarning, Worker
from attnres_core.models.checkpoints.checkpoint import Checkpoint, weights_digest
from attnres_core.models.errors import UnsupportedCheckpoint
from attnres_core.planning.bundles import Bundle
from attnres_core.planning.material import NUMERICS_VERSION
from attnres_core.quantities.vocabulary import AnyRole
from attnres_core.shapes import Unit
from attnres_core.shipped import cache_folder

TOKENIZER = "tokenizer.json"
PIECE = 32 * 2**20
"""Bytes of a file that travel as one object: small beside every object store."""
LAST_WORDS = 2000
"""Bytes of a dead process's stderr that are told."""
MARK = re.compile(r":(job_id|actor_name|task_name):")
"""Begins the lines of ray's own in such a file."""
STDERR = Path("/proc/self/fd/2")
"""Leads to the file that ray sends a process's stderr to, on Linux."""


def versions() -> dict[str, str]:
    """What must be the same on every node, or the same bundle would yield other numbers."""
    packages = ("attnres-core", "torch", "transformers", "tokenizers", "numpy", "safetensors")
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "numerics": str(NUMERICS_VERSION),
    }


@dataclass(frozen=True, slots=True)
class Station:
    """Where a measuring process runs."""

    versions: Mapping[str, str]
    stderr: Path
    """The file of ray's on its node that its stderr goes to."""


@dataclass(frozen=True, slots=True)
class Lacks:
    """A node does not hold the checkpoint of a role: it must be sent."""

    role: AnyRole


@dataclass(frozen=True, slots=True)
class Measured:
    """Units of a bundle, and what was warned of on the way."""

    units: Mapping[str, Unit]
    notices: tuple[tuple[type[Warning], str], ...]
    seconds: float
    """How long it took."""
    loaded: bool
    """Whether the model was loaded for it."""


class Measurer:
    """One process of the cluster, with one loaded model at a time.

    Args:
        checkpoints: the model in every role, where the driver has it.
        identities: what each must hold; see `identity`.
        resources: how to compute; `slots` and `spread` are this process's own devices.
    """

    def __init__(
        self, checkpoints: Mapping[AnyRole, Checkpoint], identities: Mapping[AnyRole, str], resources: Resources
    ) -> None:
        self._checkpoints, self._identities = dict(checkpoints), identities
        self._here = set[AnyRole]()
        self._held: tuple[AnyRole, str] | None = None
        """The model that was asked for last."""
        self._worker = Worker(self._checkpoints, resources, resources.slots[0])

    def station(self) -> Station:
        """Where this is, once it is up and has imported what is large."""
        importlib.import_module("torch")
        return Station(versions(), STDERR.resolve())

    def measure(
        self, bundle: Bundle, missing: Mapping[str, frozenset[str]], constants: Mapping[str, Any], ear: Any = None
    ) -> Measured | Lacks:
        """Measure units of a bundle, as `Worker.measure` does, or name the checkpoint that is not here.

        Args:
            bundle: what they belong to.
            missing: the fields that are wanted, by the units' keys.
            constants: what its fits gave, by the interventions' keys.
            ear: an `Ear`, as an actor, which hears how far a fit is.

        Raises:
            ValueError: the model cannot be loaded, does not fit the device, or cannot read the prompts.
        """
        if not self._found(bundle.role):
            return Lacks(bundle.role)
        started, held = time.monotonic(), self._held
        self._held = bundle.role, bundle.dtype
        tell = {"tell": ear.hear.remote} if ear else {}
        with warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", SmallerBatchWarning)
            try:
                units = self._worker.measure(bundle, missing, constants, **tell)
            except UnsupportedCheckpoint as error:  # (which does not travel)
                raise ValueError(str(error)) from None
        told = tuple((notice.category, str(notice.message)) for notice in notices)
        return Measured(units, told, time.monotonic() - started, loaded=held != self._held)

    def receive(self, role: AnyRole, sender: Any) -> None:
        """Keep a checkpoint that is sent, once a node.

        Args:
            role: the model's.
            sender: a `Sender`, as an actor.

        Raises:
            OSError: it cannot be kept here.
            ValueError: what arrived is not what was sent.
        """
        import ray

        expected = self._identities[role]
        folder = kept_folder(expected)
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(folder.with_suffix(".lock")):  # another process of this node may be at it
            if identity(folder, folder / TOKENIZER) != expected:
                shutil.rmtree(folder, ignore_errors=True)
                part = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
                try:
                    part.mkdir()
                    for name in ray.get(sender.names.remote(expected)):
                        with (part / name).open("wb") as stream:
                            while piece := ray.get(sender.piece.remote(expected, name, stream.tell())):
                                stream.write(piece)
                    part.replace(folder)
                finally:
                    shutil.rmtree(part, ignore_errors=True)
        if not self._found(role):
            raise ValueError(f"{folder}: what arrived is not the checkpoint that was sent; is the disk full?")

    def _found(self, role: AnyRole) -> bool:
        """Whether this node holds a role's checkpoint: where the driver has it, or a copy that was sent before."""
        if role not in self._here:
            checkpoint, expected = self._checkpoints[role], self._identities[role]
            if identity(checkpoint.folder, checkpoint.tokenizer_file) == expected:
                self._here.add(role)
            elif identity(kept := kept_folder(expected), kept / TOKENIZER) == expected:
                files = tuple(kept / file.name for file in checkpoint.files)
                self._checkpoints[role] = dataclasses.replace(checkpoint, folder=kept, files=files)
                self._here.add(role)
        return role in self._here


class Sender:
    """Reads checkpoints where the driver runs, a piece at a time: the object store never holds a whole one.

    Args:
        files: every checkpoint's, by its identity and then by the names that they have elsewhere.
    """

    def __init__(self, files: Mapping[str, Mapping[str, Path]]) -> None:
        self._files = files

    def names(self, identity: str) -> list[str]:
        """The files of a checkpoint."""
        return list(self._files[identity])

    def piece(self, identity: str, name: str, start: int) -> bytes:
        """A piece of a file from a byte on; empty: the file ends there."""
        with self._files[identity][name].open("rb") as stream:
            stream.seek(start)
            return stream.read(PIECE)


class Ear:
    """Where the driver runs, hears how far fits are; it keeps what was told last."""

    def __init__(self) -> None:
        self._words = ""

    def hear(self, words: str) -> None:
        """Hear how far a fit is."""
        self._words = words

    def told(self) -> str:
        """What was heard last."""
        return self._words


def identity(folder: Path, tokenizer: Path) -> str:
    """What a checkpoint's files are known by: a digest of weights, config and tokenizer; empty: they are not there."""
    try:
        held = tokenizer.read_bytes() if tokenizer.is_file() else b""
        return hashlib.sha256(weights_digest(folder).encode() + hashlib.sha256(held).digest()).hexdigest()
    except (UnsupportedCheckpoint, OSError):
        return ""


def kept_folder(identity: str) -> Path:
    """Where a node keeps a checkpoint that was sent to it."""
    return (cache_folder() or Path(tempfile.gettempdir()) / "attnres-core") / "sent" / identity[:32]


def files_of(checkpoint: Checkpoint) -> dict[str, Path]:
    """The files that make a checkpoint elsewhere, by the names that they have there."""
    index = checkpoint.folder / "model.safetensors.index.json"
    files = [checkpoint.folder / "config.json", *checkpoint.files, *([index] if index.is_file() else [])]
    tokenizer = checkpoint.tokenizer_file
    return {file.name: file.resolve() for file in [*files, *([tokenizer] if tokenizer.is_file() else [])]}


def last_words(file: Path) -> str:
    """The end of what a process wrote to its stderr; empty where that was no file, or nothing but ray's own marks."""
    if not file.is_file():
        return ""
    lines = file.read_bytes()[-LAST_WORDS:].decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if not MARK.match(line)).strip()
