"""When data are looked at, and what each look may spend."""

import pytest

from attnres_core.statistics.sequential import Look, looks


def test_a_quarter_and_a_half_and_the_whole():
    assert looks(256, sequential=True) == (Look(64, 0.25, False), Look(128, 0.25, False), Look(None, 0.5, True))
    assert looks(1000, sequential=True)[:2] == (Look(250, 0.25, False), Look(500, 0.25, False))


@pytest.mark.parametrize("documents", [1, 16, 127, 128, 255, 256, 300, 5000])
def test_looks_grow_and_spend_all_of_alpha_whatever_the_size(documents):
    found = looks(documents, sequential=True)
    sizes = [look.documents for look in found[:-1]]
    assert sizes == sorted(set(sizes))
    assert all(64 <= size < documents for size in sizes)
    assert sum(look.share for look in found) == 1
    assert [look.final for look in found] == [False] * (len(found) - 1) + [True]
    assert looks(documents, sequential=False) == (Look(None, 1.0, True),)
