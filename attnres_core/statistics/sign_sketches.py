"""Sign sketches: a few kilobytes of a large vector that tell the cosine of two.

A sketch holds the signs of BITS sums. Each sum adds weights of the vector, picked at random and each with a random
sign; the randomness is a fixed hash of the vector's parts' names, so that sketches made anywhere can be compared. Two
vectors at the angle t differ in a share t / pi of the signs (Charikar 2002), with a standard error of the cosine near
zero of (pi / 2) / sqrt(BITS) = .0043.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Mapping

import numpy as np

from attnres_core.shapes import Column

BITS = 2**17
SUMMED = 16
"""Weights in each sum, at least, on average: enough that sums scatter nearly normally. Few weights are taken often."""


def sketch(parts: Mapping[str, Column]) -> str:
    """The signs of random sums of a vector, as base64.

    Args:
        parts: the vector in named parts, each `[weight]`. Two vectors are compared part by part, by these names.
    """
    sums = np.zeros(BITS)
    often = -(-SUMMED * BITS // max(1, sum(map(len, parts.values()))))
    for name, part in parts.items():
        weights = np.tile(part, often)
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        drawn = np.random.PCG64(seed).random_raw(len(weights))  # numpy keeps this stream over its versions
        places = (drawn & np.uint64(BITS - 1)).astype(np.int64)
        sums += np.bincount(places, np.where(drawn >> np.uint64(63), weights, -weights), BITS)
    return base64.b64encode(np.packbits(sums > 0).tobytes()).decode()


def cosine(one: str, other: str) -> float:
    """The cosine of two vectors, from their sketches.

    Raises:
        ValueError: one of them is no sketch.
    """
    differing = np.bitwise_count(_bits(one) ^ _bits(other)).sum()
    return math.cos(math.pi * int(differing) / BITS)


def _bits(text: str) -> np.ndarray:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"no sketch of weights ({error})") from None
    if 8 * len(found) != BITS:
        raise ValueError(f"a sketch of {8 * len(found)} signs, not {BITS}")
    return np.frombuffer(found, dtype=np.uint8)
