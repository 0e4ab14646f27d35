"""The arguments of every command that runs one checkpoint: which, read how, on what device."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint, how it is read, and the device."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder, hub id, or shipped or fetched name")
    parser.add_argument("--revision", help="branch, tag or commit of a hub id (default: its main branch)")
    told = "what reads it: package.module:function, or an adapter's name (default: the library)"
    parser.add_argument("--adapter", metavar="NAME", help=told)
    parser.add_argument("--wrap", type=float, metavar="BIAS", help="read a vanilla checkpoint with this recency bias")
    parser.add_argument("--num-blocks", type=int, metavar="N", help="with --wrap: the number of blocks")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto (default): CUDA when it is there"
    )
