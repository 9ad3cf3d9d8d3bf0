"""Peak memory is measured where the system lets a process do so, and is unknown elsewhere."""

import pytest

from autopeft.training import devices
from autopeft.training.devices import peak_bytes, reset_peak


@pytest.fixture
def asked_anew():
    """Whether peaks can be measured is asked once for a process."""
    devices._starts_anew.cache_clear()
    yield
    devices._starts_anew.cache_clear()


def test_a_peak_that_may_not_start_anew_is_unknown(monkeypatch, tmp_path, asked_anew):
    """In a container that forbids it a trial goes on, without a peak: that of the whole process would be another's."""
    monkeypatch.setattr(devices, "_HIGH_WATER", tmp_path)  # a folder takes no text
    reset_peak("cpu")
    assert peak_bytes("cpu") is None
