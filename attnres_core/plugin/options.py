"""The `--attnres-*` options with their ini twins, and how they become `Settings`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnres_core.references import reference, reference_prompts
from attnres_core.suite import Settings


@dataclass(frozen=True, slots=True)
class Option:
    """One option: `--attnres-NAME` on the command line, `attnres_NAME` in an ini file."""

    name: str
    help: str
    default: str
    kind: Callable[[str], Any] = str
    flag: bool = False

    @property
    def ini(self) -> str:
        """Its name in an ini file."""
        return "attnres_" + self.name.replace("-", "_")

    def value(self, config: pytest.Config) -> Any:
        """The command line's value, else the ini file's, else the default.

        Raises:
            pytest.UsageError: it cannot be read.
        """
        given = config.getoption(self.ini)
        text = given if given is not None else config.getini(self.ini) or self.default
        if self.flag:
            return text is True or str(text).lower() in ("1", "true", "yes", "on")
        if text == "":
            return None
        try:
            return self.kind(str(text))
        except ValueError as error:
            raise pytest.UsageError(f"--attnres-{self.name}: {text!r} is not valid ({error})") from None


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("give a whole number of at least 1")
    return value


OPTIONS = (
    Option("trained", "AttnRes checkpoint the claims are about: folder, hub id or shipped name", "tiny-open-block"),
    Option(
        "vanilla", "vanilla Qwen3 checkpoint, wrapped as the baseline: folder, hub id or shipped name", "tiny-vanilla"
    ),
    Option("recency-bias", "the wrapped baseline's recency bias b", "10", float),
    Option("num-blocks", "the wrapped baseline's number of blocks (default: the trained checkpoint's)", "", _count),
    Option("prompts", "JSONL file of prompts (default: the shipped docstrings)", ""),
    Option("n-prompts", "use at most this many prompts of each split", "", _count),
    Option("device", "auto (CUDA when it is there), cpu or cuda", "auto"),
    Option("dtype", "float32, bfloat16 or float16", "float32"),
    Option("store", "folder of measured columns, reused by later runs", ".attnres"),
    Option("report", "where the HTML report goes; the JSON record lies beside it", "reports/latest.html"),
    Option("quick", "64 prompts a split: a first look, never confirmatory", "", flag=True),
    Option("write-expected", "rewrite the trained checkpoint's expected verdicts from this run", "", flag=True),
)
_BY_NAME = {option.name: option for option in OPTIONS}


def add_options(parser: pytest.Parser) -> None:
    """Register every option and its ini twin."""
    group = parser.getgroup("attnres", "causal hypothesis tests for Attention-Residual models")
    for option in OPTIONS:
        default = f" (default: {option.default})" if option.default else ""
        if option.flag:
            group.addoption(
                f"--attnres-{option.name}", dest=option.ini, action="store_true", default=None, help=option.help
            )
        else:
            metavar = option.name.split("-")[-1].upper()
            text = option.help + default
            group.addoption(f"--attnres-{option.name}", dest=option.ini, metavar=metavar, default=None, help=text)
        parser.addini(option.ini, f"see --attnres-{option.name}", default="")


def option(config: pytest.Config, name: str) -> Any:
    """One option's value."""
    return _BY_NAME[name].value(config)


def _checkpoint(given: str) -> str:
    """A shipped checkpoint's folder for its name; anything else as given."""
    return str(reference(given)) if "/" not in given and not Path(given).exists() else given


def settings_of(config: pytest.Config) -> Settings:
    """The run's settings.

    Raises:
        pytest.UsageError: an option cannot be read.
        ValueError: a shipped checkpoint is misspelt, or the dtype is unknown.
    """
    dtype = option(config, "dtype")
    if dtype not in ("float32", "bfloat16", "float16"):
        raise ValueError(f"--attnres-dtype is {dtype!r}; allowed: float32, bfloat16, float16")
    prompts = option(config, "prompts")
    return Settings(
        trained=_checkpoint(option(config, "trained")),
        vanilla=_checkpoint(option(config, "vanilla")),
        recency_bias=option(config, "recency-bias"),
        num_blocks=option(config, "num-blocks"),
        prompts=Path(prompts) if prompts else reference_prompts(),
        n_prompts=option(config, "n-prompts"),
        device=option(config, "device"),
        dtype=dtype,
        store=(config.rootpath / option(config, "store")).resolve(),
        quick=option(config, "quick"),
    )
