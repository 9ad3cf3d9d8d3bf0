"""What the allocator's settings would change: memory that is reserved but not used."""

from dataclasses import dataclass

from autopeft.estimation.collector import uncollected
from autopeft.estimation.context import ALLOCATOR_KINDS, with_workspaces
from autopeft.estimation.estimate import evaluation_rows
from autopeft.estimation.kept import estimate_path
from autopeft.estimation.question import Plan
from autopeft.estimation.replay import expandable_gain
from autopeft.estimation.trace import Trace
from autopeft.estimation.trace_memory import fits_after_release
from autopeft.estimation.tracing.setup import UntraceableError, trace_setup
from autopeft.profiling.cache import load_value, save_value
from autopeft.profiling.sizes import format_bytes

WORTH_SAYING = 64 << 20
"""Gain below which fragmentation is not worth a word."""

SETTING = "PYTORCH_ALLOC_CONF=expandable_segments:True"


def fragmentation_notes(asked: Plan, total_bytes: int) -> tuple[str, ...]:
    """Returns what a reader may gain from the allocator's settings, and whether torch itself would get by.

    Args:
        asked: the run, on one device.
        total_bytes: what it was estimated to take, reserved memory and context.
    """
    if asked.device.kind not in ALLOCATOR_KINDS or asked.strategy != "none":
        return ()
    with uncollected():
        try:
            return _notes(asked, total_bytes)
        except UntraceableError:
            return ()


def _notes(asked: Plan, total_bytes: int) -> tuple[str, ...]:
    limit, gain = asked.limit_bytes, _kept_gain(asked)
    notes = []
    if gain >= WORTH_SAYING:
        fits = " It fits then." if total_bytes - gain <= limit < total_bytes else ""
        notes.append(f"{SETTING} would save {format_bytes(gain)} of reserved memory.{fits}")
    if total_bytes > limit and fits_after_release(_trace(asked), asked.device, limit):
        notes.append(
            "torch would get by all the same, by giving cached memory back whenever the card is full: slower, and "
            "with nothing to spare."
        )
    return tuple(notes)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What is kept of a setup beside its estimate: to find it, two replays take longer than the rest of an answer."""

    expandable_bytes: int


def _kept_gain(asked: Plan) -> int:
    rows = evaluation_rows(asked.setup, asked.device, asked.practice)
    path = estimate_path(asked.setup, asked.tokens, rows, asked.device, asked.practice).with_suffix(".gain.json")
    kept = load_value(path, Gain)
    if kept is None:
        kept = Gain(expandable_bytes=expandable_gain(with_workspaces(_trace(asked), asked.device)))
        save_value(path, kept)
    return kept.expandable_bytes


def _trace(asked: Plan) -> Trace:
    rows = evaluation_rows(asked.setup, asked.device, asked.practice)
    return trace_setup(asked.setup, asked.tokens, asked.device, evaluation_rows=rows, practice=asked.practice)
