"""A plan's parts: together they are the plan, each is a run of neighbours, and none is much longer than the others."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnres_core.planning.bundles import Bundle
from attnres_core.planning.shards import Shard


@dataclass(frozen=True)
class Costly:
    """As much of a bundle as its cost depends on."""

    prompts: tuple
    interventions: tuple
    start: str = ""
    fits: tuple = ()
    cost = Bundle.cost


def bundles_of(costs):
    return [Costly(("prompt",), ("ablation",) * (cost - 1)) for cost in costs]


@given(st.lists(st.integers(1, 49), max_size=80), st.integers(1, 20))
def test_parts_are_the_plan_in_its_order_and_about_equal(costs, count):
    bundles = bundles_of(costs)
    parts = [Shard(number, count).of(bundles) for number in range(1, count + 1)]
    assert [bundle for part in parts for bundle in part] == bundles
    longest = max((sum(len(b.interventions) + 1 for b in part) for part in parts), default=0)
    assert longest <= sum(costs) / count + max(costs, default=0)


def test_by_hand():
    bundles = bundles_of([4, 4, 8, 1, 1])  # halves of 18: the cut lies inside the third, whose middle is 12
    first, second = (Shard(number, 2).of(bundles) for number in (1, 2))
    assert (first, second) == (bundles[:2], bundles[2:])


def test_fits_are_in_one_part_with_all_that_needs_them():
    zero, mean = (Costly(("prompt",), ("ablation",), start=start) for start in ("zero", "mean"))
    drops = [Costly(("prompt",) * (zero.cost // 2), (str(number),)) for number in range(4)]  # each as a fit
    fitted = [Costly(("prompt",), (str(number),), fits=(zero, mean)) for number in range(3)]
    bundles = [zero, mean, drops[0], fitted[0], *drops[1:], *fitted[1:]]  # (of another split, and the plain path's)
    first, second, third = (Shard(number, 3).of(bundles) for number in (1, 2, 3))
    assert first == [drops[0]]
    assert second == [zero, mean, *fitted, drops[1]]
    assert third == drops[2:]
    some = Costly(("prompt",), ("ablation",), fits=(zero,))
    assert Shard(1, 1).of([zero, mean, fitted[0], some]) == [zero, mean, fitted[0], some]
    other = Costly(("prompt",), ("other",), start="zero")
    apart = [Costly(("prompt",), (name,), fits=(fit,)) for name, fit in (("a", zero), ("b", other))]
    both = Costly(("prompt",), ("c",), fits=(other, zero))
    parts = [Shard(number, 4).of([*apart, drops[0], both]) for number in range(1, 5)]
    assert sorted(map(len, parts)) == [0, 0, 1, 5]  # (what needs either fit is measured by one job)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "1/2/3", "-1/4", "a/b", "", "\u0661/\u0664"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(ValueError, match="give K/N, the K-th of N parts"):
        Shard.parse(text)


def test_a_part_reads_as_it_is_typed():
    assert str(Shard.parse("3/8")) == "3/8"
    assert Shard.parse("3/8") == Shard(3, 8)
