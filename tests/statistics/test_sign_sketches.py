"""Sign sketches against the cosine itself, and against a change of the random stream that they rest on."""

import hashlib

import numpy as np
import pytest

from attnres_core.statistics.sign_sketches import BITS, cosine, sketch

ERROR = np.pi / 2 / np.sqrt(BITS)


def parts(rng, count=40_000):
    return {name: rng.normal(size=count) for name in ("a", "b", "c")}


@pytest.mark.parametrize("share", [0.0, 0.03, 0.3, -0.3, 0.9, 1.0])
def test_the_cosine_of_two_vectors_is_read_off_their_sketches(share):
    rng = np.random.default_rng(0)
    one, noise = parts(rng), parts(rng)
    other = {name: share * one[name] + np.sqrt(1 - share**2) * noise[name] for name in one}
    left, right = np.concatenate(list(one.values())), np.concatenate(list(other.values()))
    truth = left @ right / np.linalg.norm(left) / np.linalg.norm(right)
    assert cosine(sketch(one), sketch(other)) == pytest.approx(truth, abs=5 * ERROR)


def test_parts_of_other_names_have_nothing_in_common():
    one = parts(np.random.default_rng(0))
    other = {f"of another {name}": part for name, part in one.items()}
    assert abs(cosine(sketch(one), sketch(other))) < 5 * ERROR


def test_a_few_weights_are_enough():
    rng = np.random.default_rng(0)
    one, other = ({"a": rng.normal(size=50)} for _ in range(2))
    truth = one["a"] @ other["a"] / np.linalg.norm(one["a"]) / np.linalg.norm(other["a"])
    assert cosine(sketch(one), sketch(other)) == pytest.approx(truth, abs=0.05)


def test_sketches_made_by_other_versions_can_be_compared():
    """A change of the hash or of numpy's stream would make every record's sketch useless without a word."""
    found = sketch({"a": np.arange(1.0, 1001.0), "b": np.cos(np.arange(1000.0))})
    assert hashlib.sha256(found.encode()).hexdigest()[:32] == "d680430c356d2da4043c06ed0dcc1e84"


@pytest.mark.parametrize("damaged", ["not base64!", "AAAA", "é"])
def test_what_is_no_sketch_is_refused(damaged):
    with pytest.raises(ValueError, match="sketch"):
        cosine(damaged, sketch({"a": np.ones(10)}))
