"""The `--attnres-*` options with their ini twins, and the paths that they name. Imports nothing that costs time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attnres_core.amounts import bytes_of


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
        if given == "":
            raise pytest.UsageError(f"--attnres-{self.name} is empty; give a value, or leave it out")
        text = given if given is not None else config.getini(self.ini) or self.default
        if self.flag:
            word = str(text).lower()
            if word not in (*_YES, *_NO):
                allowed = ", ".join((*_YES, *filter(None, _NO)))
                raise pytest.UsageError(f"{self.ini} = {text} is neither yes nor no; allowed: {allowed}")
            return word in _YES
        if text == "":
            return None
        try:
            return self.kind(str(text))
        except ValueError as error:
            raise pytest.UsageError(f"--attnres-{self.name}: {text!r} is not valid ({error})") from None


_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
"""What an ini file may say of a flag."""


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("give a whole number of at least 1")
    return value


def _allowed(text: str) -> str:
    if text != "inconclusive":
        raise ValueError("allowed: inconclusive")
    return text


def _shard(text: str) -> Any:
    from attnres_core.planning.shards import Shard  # (read when it is given)

    return Shard.parse(text)


OPTIONS = (
    Option(
        "trained",
        "AttnRes checkpoint the claims are about: folder, hub id, or shipped or fetched name",
        "tiny-open-block",
    ),
    Option(
        "vanilla",
        "vanilla checkpoint, wrapped as the baseline: folder, hub id, or shipped or fetched name",
        "tiny-vanilla",
    ),
    Option("revision", "branch, tag or commit of the trained checkpoint's hub id (default: its main branch)", ""),
    Option("vanilla-revision", "branch, tag or commit of the vanilla checkpoint's hub id", ""),
    Option("adapter", "what reads the trained checkpoint: package.module:function, or an adapter's name", ""),
    Option("recency-bias", "the wrapped baseline's recency bias b", "10", float),
    Option("num-blocks", "the wrapped baseline's number of blocks (default: the trained checkpoint's)", "", _count),
    Option("prompts", "JSONL file of prompts (default: the shipped docstrings)", ""),
    Option("prompt-sets", "folder of the prompt sets that claims name (`prompts=`), before the shipped ones", ""),
    Option("n-prompts", "use at most this many prompts of each split", "", _count),
    Option("device", "auto (CUDA when it is there), cpu or cuda", "auto"),
    Option("device-map", "balanced: spread every model over all CUDA devices (default: each on one)", ""),
    Option("dtype", "float32, bfloat16 or float16", "float32"),
    Option("memory", "memory a measuring slot may use, such as 8GiB (default: what there is)", "", bytes_of),
    Option("executor", "who measures: local, this machine's processes; ray, those of a Ray cluster", "local"),
    Option("ray-address", "the Ray cluster's address (default: RAY_ADDRESS, or one started here)", ""),
    Option("store", "folder of measured columns, reused by later runs", ".attnres"),
    Option(
        "report",
        "where the HTML report goes; its .json record, .effects.csv and columns lie beside it",
        "reports/latest.html",
    ),
    Option("quick", "64 prompts a split: a first look, never confirmatory", "", flag=True),
    Option("sequential", "decide early: look at a quarter and a half of the documents too", "", flag=True),
    Option("register", "register the claims in the nearest claims.lock, or a new one, and stop", "", flag=True),
    Option(
        "budget-claims",
        "alpha / N for each new claim, at most the smallest share before (default: half of what is left, shared)",
        "",
        _count,
    ),
    Option("allow", "inconclusive: claims that stay open do not fail the run", "", _allowed),
    Option("plan", "print the prompts that each claim needs, from the exploration split, and stop", "", flag=True),
    Option("shard", "K/N: measure the K-th of N parts of the plan, and stop (for job arrays)", "", _shard),
    Option("write-expected", "rewrite the trained checkpoint's expected verdicts from this run", "", flag=True),
)
_BY_NAME = {option.name: option for option in OPTIONS}


STATUSES = """\
  (exit status: 0 every claim is SUPPORTED, not applicable, or as the checkpoint is known to give; 1 another verdict, or
  a claim that cannot be decided; 2 interrupted, or a file that cannot be imported; 4 an option that cannot be used;
  5 no test was collected)"""


def add_options(parser: pytest.Parser) -> None:
    """Register every option and its ini twin."""
    group = parser.getgroup("attnres", f"causal hypothesis tests for Attention-Residual models\n{STATUSES}")
    for option in OPTIONS:
        default = f" (default: {option.default})" if option.default else ""
        if option.flag:
            group.addoption(
                f"--attnres-{option.name}", dest=option.ini, action="store_true", default=None, help=option.help
            )
        else:
            metavar = "N" if option.kind is _count else option.name.split("-")[-1].upper()
            text = option.help + default
            group.addoption(f"--attnres-{option.name}", dest=option.ini, metavar=metavar, default=None, help=text)
        parser.addini(option.ini, f"see --attnres-{option.name}", default="")


def option(config: pytest.Config, name: str) -> Any:
    """One option's value."""
    return _BY_NAME[name].value(config)


def typed(config: pytest.Config, name: str) -> bool:
    """Return whether the command line gives a value."""
    return config.getoption(_BY_NAME[name].ini) is not None


def untyped(config: pytest.Config) -> list[str]:
    """The options that this run has from elsewhere than its command line, as they would be typed."""
    words = {str(word).partition("=")[0] for word in config.invocation_params.args}
    found = []
    for each in OPTIONS:
        given = config.getoption(each.ini) if typed(config, each.name) else config.getini(each.ini)
        if not given or f"--attnres-{each.name}" in words:
            continue
        if each.flag:
            found += [f"--attnres-{each.name}"] if each.value(config) else []
        elif each.name in ("store", "report"):
            found.append(f"--attnres-{each.name}={written_path(config, each.name)}")
        else:
            path = (
                read_path(config, each.name) if each.name in ("trained", "vanilla", "prompts", "prompt-sets") else given
            )
            found.append(f"--attnres-{each.name}={path}")
    return found


def written_path(config: pytest.Config, name: str) -> Path:
    """A place this run writes to: what an ini file says, seen from its root, else from where pytest was started."""
    started = typed(config, name) or config.inipath is None
    folder = config.invocation_params.dir if started else config.rootpath
    return folder.joinpath(option(config, name)).resolve()


def read_path(config: pytest.Config, name: str) -> str | None:
    """A path as given; one from the ini file is looked for beside that file first, as pytest does."""
    text: str | None = option(config, name)
    from_ini = text and not typed(config, name) and config.getini(_BY_NAME[name].ini)
    beside = config.rootpath / text if from_ini and text else None
    return str(beside) if beside is not None and beside.exists() else text


def report_path(config: pytest.Config) -> Path:
    """Return where the HTML report goes.

    Raises:
        pytest.UsageError: nothing can be written there, or the JSON record would take its place.
    """
    path = written_path(config, "report")
    if path.suffix == ".json":
        raise pytest.UsageError(f"--attnres-report: {path} is for the page; its JSON record lies beside it as .json")
    above = next(folder for folder in path.parents if folder.exists())
    if path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise pytest.UsageError(f"--attnres-report: {path} cannot be written; give a file in a folder that can be")
    return path
