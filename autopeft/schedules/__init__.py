"""The catalogue of learning-rate schedules: one file each, found by walking this package."""

from functools import cache

from autopeft.discovery import discover
from autopeft.errors import named
from autopeft.schedules._declaration import Schedule, warmup_steps

__all__ = ["Schedule", "all_schedules", "get_schedule", "warmup_steps"]


@cache
def all_schedules() -> dict[str, Schedule]:
    """Returns every schedule by name, sorted."""
    import autopeft.schedules as package

    return discover(package, "SCHEDULE", Schedule)


def get_schedule(name: str) -> Schedule:
    """Returns one schedule.

    Raises:
        InvalidValueError: no schedule has this name.
    """
    return named(all_schedules(), name, "schedule", "a candidate")
