"""What real runs took beside what had been estimated for them: one line of JSON each, in the user's cache.

``AUTOPEFT_CALIBRATION=off`` neither writes nor reads them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from autopeft import resources
from autopeft.environment import stack, switched_on
from autopeft.errors import FileFormatError
from autopeft.estimation.digest import code_digest
from autopeft.files import append_text, parse, plain
from autopeft.profiling.cache import cache_folder
from autopeft.values.candidates import Estimate
from autopeft.values.profiles import Device

SWITCH = "AUTOPEFT_CALIBRATION"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One real run.

    Attributes:
        card: from `card_name`.
        stack: from `stack_versions`.
        date: of the run, ``YYYY-MM-DD``.
        estimated_reserved_bytes: as estimated without corrections; so are the seconds.
        estimated_seconds: of one optimizer step by class of operation; empty where it was not estimated.
        reserved_bytes: measured peak; None where it was not measured, as are the seconds.
        estimator: digest of the code that estimated (`code_digest`); empty where it was not kept.
    """

    card: str
    stack: str
    date: str
    estimated_reserved_bytes: int
    estimated_seconds: Mapping[str, float] = field(default_factory=dict)
    reserved_bytes: int | None = None
    step_seconds: float | None = None
    estimator: str = ""


def observed(
    device: Device,
    estimate: Estimate,
    *,
    date: str,
    reserved_bytes: int | None = None,
    step_seconds: float | None = None,
) -> Observation:
    """Returns the observation of a run that has ended on a device, for `record`.

    Args:
        device: that it ran on.
        estimate: of the run, without corrections (`autopeft.estimation.estimate.uncorrected`): a residual of a
            corrected estimate would be corrected twice.
        date: of the run, ``YYYY-MM-DD``.
        reserved_bytes: ``torch.cuda.max_memory_reserved``, where it was measured.
        step_seconds: of one optimizer step, where it was measured.
    """
    return Observation(
        card=card_name(device), stack=stack_versions(), date=date,
        estimated_reserved_bytes=estimate.memory.peak_reserved_bytes,
        estimated_seconds=dict(estimate.step_seconds_by_class), reserved_bytes=reserved_bytes,
        step_seconds=step_seconds, estimator=code_digest(),
    )  # fmt: skip


def enabled() -> bool:
    """Whether measured runs are kept and used: unless the user has switched that off."""
    return switched_on(SWITCH)


def observations_path() -> Path:
    """Returns where the user's observations lie."""
    return cache_folder() / "observations.jsonl"


def record(observation: Observation) -> None:
    """Keeps an observation.

    A line is appended in one write, so that workers of one search do not lose each other's, and flushed to disk; a
    line cut short by a crash is left out by readers. A folder that cannot be written costs only the correction,
    so that is no error.
    """
    if not enabled():
        return
    line = json.dumps(plain(observation), separators=(",", ":")) + "\n"
    try:
        append_text(observations_path(), line)
    except OSError:
        return


def store_state() -> tuple[Path, int, int] | None:
    """Returns the file of the observations with when and how long it was left; None where there is none to be read.

    Whatever is made of the observations stays the same while this does.
    """
    if not enabled():
        return None
    path = observations_path()
    try:
        state = path.stat()
    except OSError:  # not there, or not for this user to read: like writing, that costs only the correction
        return None
    return path, state.st_mtime_ns, state.st_size


def observations(card: str, stack: str) -> tuple[Observation, ...]:
    """Returns the runs of one card and stack in the order they were kept; none where that is switched off.

    A run that other code has estimated is left out: what that was off by is no error of this.
    """
    state = store_state()
    try:
        runs = () if state is None else _read(*state)
    except OSError:
        return ()
    same = (card, stack, code_digest())
    return tuple(run for run in runs if (run.card, run.stack, run.estimator) == same)


@lru_cache(maxsize=1)
def _read(path: Path, _changed: int, _size: int) -> tuple[Observation, ...]:
    """Returns all runs of the file as it stands: a search asks for them at every estimate."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found.append(parse(Observation, json.loads(line), str(path)))
        except (json.JSONDecodeError, FileFormatError):  # cut short, or of another version's schema
            continue
    return tuple(found)


def card_name(device: Device) -> str:
    """Returns one name for a card, whether the driver reports it or the catalogue does: the catalogue's file.

    Slices of a card have its name, and are as fast as they are large.
    """
    name = _card_name(device.name)
    return f"{name}, slice of {device.total_memory_bytes / 2**30:.1f} GiB" if device.mig else name


@cache
def _card_name(name: str) -> str:
    for path in sorted((resources.profiles() / "hardware").glob("*.yaml")):
        if f'"{name}"' in path.read_text(encoding="utf-8"):
            return path.stem
    return name


@cache
def stack_versions() -> str:
    """Returns the versions that a run's memory and speed depend on, such as ``torch 2.13.0, …``."""
    return ", ".join(f"{name} {number}" for name, number in stack().items())
