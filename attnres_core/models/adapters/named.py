"""Adapters by name: a function that makes a model from a checkpoint's folder, found, called, and known by its code.

Such a function has the signature of `Adapter`. A name is that of a built-in one, of an entry point of the group
`attnres_core.adapters`, or `package.module:function`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from attnres_core.models.adapters.adapter import AdaptedNetwork, AdapterError
from attnres_core.models.geometry import Outline
from attnres_core.models.model import AttnResModel

GROUP = "attnres_core.adapters"
"""The group of entry points by which a package brings adapters."""
BUILT_IN = {
    "fla": "attnres_core.models.adapters.foreign_loading:fla",
    "kimi_k3": "attnres_core.models.adapters.foreign_loading:kimi_k3",
    "hyper_connections": "attnres_core.models.adapters.foreign_loading:hyper_connections",
}
UNTRAINED_SEED = 0
_HELP = "docs/adapters.md shows one"


class Adapter(Protocol):
    """What an adapter is."""

    def __call__(self, folder: Path, *, device: str, dtype: torch.dtype) -> AttnResModel:
        """A checkpoint's model, as `ac.adapt` gives it.

        With a further keyword `untrained: bool = False` it can also make the same architecture at its initialisation.

        Args:
            folder: holds config.json and the weights.
            device: where to put the model.
            dtype: what to load it in.
        """


def find(name: str) -> Adapter:
    """The adapter of a name.

    Raises:
        AdapterError: there is none, or it cannot be imported: says what was looked for, and what there is.
    """
    entries = {entry.name: entry.value for entry in importlib.metadata.entry_points(group=GROUP)}
    target = BUILT_IN.get(name) or entries.get(name) or name
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        known = ", ".join(sorted({*BUILT_IN, *entries}))
        raise AdapterError(f"there is no adapter {name!r}; give package.module:function, or one of: {known}")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.partition(".")[0]:
            raise AdapterError(f"the adapter {name!r} cannot be imported ({error})") from error
        module = _from_here(module_name, name)
    except ImportError as error:
        raise AdapterError(f"the adapter {name!r} cannot be imported ({error})") from error
    found: Any = getattr(module, attribute, None)
    if not callable(found):
        functions = inspect.getmembers(module, inspect.isfunction)
        own = [key for key, value in functions if value.__module__ == module_name]
        raise AdapterError(
            f"the adapter {name!r}: {module_name} has no function {attribute!r}; it has: {', '.join(own) or 'none'}"
        )
    adapter: Adapter = found
    return adapter


def _from_here(module_name: str, name: str) -> Any:
    """A module that lies in the working directory, which a command's own path may lack."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        told = f"{error}; it was looked for in the working directory and in Python's path"
        raise AdapterError(f"the adapter {name!r} cannot be imported ({told})") from error


def makes_untrained(adapter: Adapter) -> bool:
    """Whether it takes `untrained`."""
    return "untrained" in inspect.signature(adapter).parameters


def look(name: str, folder: Path) -> tuple[Outline, str, bool]:
    """What an adapter's model is, the digest of its code, and whether it can be made untrained.

    Raises:
        AdapterError: the adapter is not there, fails, or describes another model.
    """
    adapter = find(name)
    model = run(name, folder, device="cpu", dtype=torch.float32)
    outline = model.checkpoint
    assert isinstance(outline, Outline), "checked by `run`"
    return outline, code_of(adapter, model), makes_untrained(adapter)


def run(name: str, folder: Path, *, device: str, dtype: torch.dtype, untrained: bool = False) -> AttnResModel:
    """An adapter's model.

    Untrained, it is seeded, and its pseudo-queries are zero.

    Raises:
        AdapterError: the adapter is not there, fails, or gives something else than `ac.adapt` does.
    """
    adapter = find(name)
    options: dict[str, Any] = {"device": device, "dtype": dtype, **({"untrained": True} if untrained else {})}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            model: Any = adapter(folder, **options)
    except ValueError:  # (says what to do: a checkpoint, or a description, that is refused)
        raise
    except Exception as error:  # whatever someone else's code raises
        raise AdapterError(f"the adapter {name!r} failed on {folder} ({type(error).__name__}: {error})") from error
    if not isinstance(model, AttnResModel) or not isinstance(model.network, AdaptedNetwork):
        raise AdapterError(f"the adapter {name!r} gives a {type(model).__name__}; return ac.adapt(...), {_HELP}")
    if untrained:
        with torch.no_grad():
            for query in model.network.pseudo_queries:
                query.zero_()
    return model


def code_of(adapter: Adapter, model: AttnResModel) -> str:
    """SHA-256 of the code that decides what a model computes.

    It is that of the modules of the adapter, of its descriptions and of the model's classes: their files, or, where a
    package was installed, its release. torch is left out, as for models of the library.
    """
    network = model.network
    assert isinstance(network, AdaptedNetwork), "checked by `run`"
    calls = [network.own_forward, *(call.describe for call in network.calls)]
    names = {thing.__module__ for thing in (adapter, *calls)} | set(_modules_of(network.network))
    known = sorted({fact for name in names for fact in _facts(name)})
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def _modules_of(network: nn.Module) -> Iterator[str]:
    """The modules where the classes of a model's parts are defined."""
    for kind in {type(part) for part in network.modules()}:
        yield from (each.__module__ for each in kind.__mro__)


def _facts(module: str) -> list[str]:
    """What a module's code is known by."""
    package, file = module.partition(".")[0], getattr(sys.modules.get(module), "__file__", None)
    if package == "torch" or file is None:
        return []
    if releases := _releases().get(package):
        return releases
    return [f"{module} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"]


@cache
def _releases() -> dict[str, list[str]]:
    """The installed releases that each top-level package comes from; not of packages that are being worked on."""
    found = {}
    for package, names in importlib.metadata.packages_distributions().items():
        distributions = [importlib.metadata.distribution(name) for name in sorted(set(names))]
        if not any('"editable"' in (each.read_text("direct_url.json") or "") for each in distributions):
            found[package] = [f"{each.name} {each.version}" for each in distributions]
    return found


def modules_calling(network: nn.Module, call: str) -> list[Any]:
    """The modules that have a function, of those where a model's classes, and what they inherit from, are defined."""
    names = sorted(set(_modules_of(network)))
    return [sys.modules[name] for name in names if hasattr(sys.modules.get(name), call)]
