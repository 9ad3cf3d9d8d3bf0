"""Scales from values to pixels, their ticks, and how numbers are written beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 5, 10)
_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_FINE = 1e-4


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map of values to pixels.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``; above ``low``.
        start: pixels.
        end: pixels; may be less than ``start``, as on a vertical axis.
        log: whether equal ratios, not differences, take equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Returns the pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Returns round values within the scale, ascending, at most about so many."""
        return _log_ticks(self.low, self.high, most) if self.log else _linear_ticks(self.low, self.high, most)


def scale(values: Sequence[float], start: float, end: float, *, log: bool = False, zero: bool = False) -> Scale:
    """Returns a scale with some room around the values; ``zero`` makes it begin at 0. It stands without values."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    if log:
        room = max(1.15, (high / low) ** 0.06)
        return Scale(low / room, high * room, start, end, log=True)
    if zero:
        low = 0.0
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return Scale(low if zero else low - room, high + room, start, end)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / max(1, most)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in _STEPS if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(found) <= most:
            # Less than one step of 1, 2, 5 is nearly linear.
            return found if len(found) > 1 else _linear_ticks(low, high, min(most, 4))
    stride = math.ceil(len(found) / most)
    return found[::stride]


def number(value: float) -> str:
    """Returns a number in few characters: ``0.25``, ``3e-05``, ``16k``, ``1.2M``."""
    size = abs(value)
    if 0 < size < _FINE:
        return f"{value:.0e}"
    # Rounded before the unit is chosen: 999,950 are a million, and not a thousand thousand.
    rounded = float(f"{value:.3g}") if size >= _SUFFIXES[-1][0] else value
    for limit, suffix in _SUFFIXES:
        if abs(rounded) >= limit:
            return f"{rounded / limit:.3g}{suffix}"
    return f"{value:.4g}"


def octets(value: float) -> str:
    """Returns a size in memory: ``1.2 GiB``."""
    size, unit = memory_unit(value)
    return f"{value / size:.3g} {unit}"


def memory_unit(most: float) -> tuple[float, str]:
    """Returns the bytes and the name of the unit that sizes up to ``most`` are best read in."""
    # From 1000 MiB on three digits no longer suffice.
    return next(((size, unit) for size, unit in _BINARY if abs(most) >= 0.97 * size), (1.0, "B"))


def time_unit(seconds: float) -> tuple[float, str]:
    """Returns the seconds and the name of the unit that a span of time is best read in."""
    if seconds < 240:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")
