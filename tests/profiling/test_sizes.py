"""Rules of sizes: what people write is what they get."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.errors import InvalidValueError
from autopeft.profiling.sizes import format_bytes, parse_bytes

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20,
         "GiB": 2**30, "TiB": 2**40}  # fmt: skip


@given(st.integers(1, 10**6), st.sampled_from(list(UNITS)), st.sampled_from(["", " "]), st.booleans())
def test_whole_sizes_are_exact(number, unit, space, lower):
    """A number times its unit, in any case, with or without a space; binary and decimal units differ."""
    text = f"{number}{space}{unit}"
    assert parse_bytes(text.lower() if lower else text) == number * UNITS[unit]


@given(st.integers(1, 10**6), st.integers(0, 999))
def test_fractions_are_cut_to_bytes(whole, thousandths):
    """A decimal fraction is computed exactly, then cut to whole bytes."""
    assert parse_bytes(f"{whole}.{thousandths:03}GiB") == (whole * 1000 + thousandths) * 2**30 // 1000


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "0", "0.0001KB", "1e9", "ten GB", "1 GiB free", "1.GiB", "5Gb/s"])
def test_what_is_no_size_is_refused(text):
    """Anything else is answered with what was expected."""
    with pytest.raises(InvalidValueError, match=r"`--memory` of the command must be a size above zero such as 24GiB"):
        parse_bytes(text)


@given(st.integers(1, 2**50))
def test_written_sizes_are_read_back_nearly(size):
    """What is printed stands within its last digit of what was meant."""
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.051)
