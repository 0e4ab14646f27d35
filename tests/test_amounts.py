"""Amounts of memory, as people write them."""

import pytest

from attnres_core.amounts import bytes_of


@pytest.mark.parametrize(
    ("text", "count"), [("8GiB", 8 * 2**30), ("500 MB", 5 * 10**8), ("2000000", 2_000_000), ("1.5g", 15 * 10**8)]
)
def test_amounts_of_memory_are_read(text, count):
    assert bytes_of(text) == count


@pytest.mark.parametrize("text", ["", "lots", "-1GB", "0", "8 GiB or so", "1e9"])
def test_what_is_no_amount_of_memory_is_refused(text):
    with pytest.raises(ValueError, match="give an amount of memory such as 8GiB"):
        bytes_of(text)
