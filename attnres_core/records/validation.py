"""A value from elsewhere, held against types: TypedDicts, and lists and dicts of them down to numbers and text."""

from __future__ import annotations

import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

LARGEST = 2**53
"""Whole numbers up to here are exact in every reader of JSON."""
SHOWN = 40
"""Characters of a value that an error quotes."""
_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number", type(None): "null"}


class Mismatch(ValueError):
    """A value is not of its type; the message names where it stands, what is there and what should be."""


def check(value: object, kind: Any, path: str = "") -> None:
    """Hold a value against a type, down to its leaves.

    Args:
        value: plain data, as `json.loads` gives it.
        kind: a TypedDict, `list[...]`, `dict[str, ...]`, `Literal[...]`, `... | None`, str, bool, int or float (which
            takes whole numbers, too, and no infinite ones).
        path: where the value stands, such as `claims[3].interval`.

    Raises:
        Mismatch: it is not, or a key is missing or unknown: the first such place.
    """
    origin = get_origin(kind)
    if typing.is_typeddict(kind):
        _check_keys(value, kind, path)
    elif origin in (types.UnionType, typing.Union):
        (inner,) = (each for each in get_args(kind) if each is not type(None))
        if value is not None:
            check(value, inner, path)
    elif origin is list:
        if not isinstance(value, list):
            raise _mismatch(value, kind, path)
        for place, item in enumerate(value):
            check(item, get_args(kind)[0], f"{path}[{place}]")
    elif origin is dict:
        if not isinstance(value, dict):
            raise _mismatch(value, kind, path)
        keys, items = get_args(kind)
        for key, item in value.items():
            check(key, keys, f"a key of {path}")
            check(item, items, f"{path}[{key!r}]")
    elif origin is Literal:
        if value not in get_args(kind):
            raise _mismatch(value, kind, path)
    elif not _is_plain(value, kind):
        raise _mismatch(value, kind, path)


def _check_keys(value: object, kind: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise _mismatch(value, kind, path)
    hints = _hints(kind)
    where = f"{path}: " if path else ""
    if missing := [name for name in hints if name in kind.__required_keys__ and name not in value]:
        raise Mismatch(f"{where}lacks {_quoted(missing)}")
    if unknown := [name for name in value if name not in hints]:
        raise Mismatch(f"{where}has {_quoted(unknown)}, which no {kind.__name__} has")
    for name, item in value.items():
        check(item, hints[name], f"{path}.{name}" if path else name)


@functools.cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(kind)  # (without `NotRequired`)


def _is_plain(value: object, kind: Any) -> bool:
    if kind is str:
        return isinstance(value, str)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if isinstance(value, int):
        return abs(value) <= LARGEST
    return kind is float and isinstance(value, float) and math.isfinite(value)


def _mismatch(value: object, kind: Any, path: str) -> Mismatch:
    shown = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else json.dumps(value)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    return Mismatch(f"{path or 'the whole'}: {shown} is not {_told(kind)}")


def _told(kind: Any) -> str:
    """A type in words."""
    if typing.is_typeddict(kind):
        return f"a {kind.__name__}"
    if get_origin(kind) in (list, dict):
        return "a list" if get_origin(kind) is list else "an object"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    return _NAMES[kind]


def _quoted(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
