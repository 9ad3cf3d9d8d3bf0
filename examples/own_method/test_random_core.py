"""Holds the method to autopeft's contract."""

from pathlib import Path

from autopeft.testing.suite import check_method
from own_method.random_core import METHOD


def test_contract(tmp_path: Path) -> None:
    """Declaration, identity at the start, gradients, saving, merging, counting, quantized bases, bad input."""
    assert len(check_method(METHOD, tmp_path)) == 5
