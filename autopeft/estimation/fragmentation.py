"""What the allocator's settings would change: memory that is reserved but not used."""

from autopeft.estimation.collector import uncollected
from autopeft.estimation.context import ALLOCATOR_KINDS, with_workspaces
from autopeft.estimation.estimate import evaluation_rows
from autopeft.estimation.question import Plan
from autopeft.estimation.replay import expandable_gain
from autopeft.estimation.trace import Trace
from autopeft.estimation.trace_memory import fits_after_release
from autopeft.estimation.tracing.setup import UntraceableError, trace_setup
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
    with uncollected():
        trace = _trace(asked)
        return () if trace is None else _notes(asked, trace, total_bytes)


def _notes(asked: Plan, trace: Trace, total_bytes: int) -> tuple[str, ...]:
    device, limit = asked.device, asked.limit_bytes
    gain = expandable_gain(with_workspaces(trace, device))
    notes = []
    if gain >= WORTH_SAYING:
        fits = " It fits then." if total_bytes - gain <= limit < total_bytes else ""
        notes.append(f"{SETTING} would save {format_bytes(gain)} of reserved memory.{fits}")
    if total_bytes > limit and fits_after_release(trace, device, limit):
        notes.append(
            "torch would get by all the same, by giving cached memory back whenever the card is full: slower, and "
            "with nothing to spare."
        )
    return tuple(notes)


def _trace(asked: Plan) -> Trace | None:
    if asked.device.kind not in ALLOCATOR_KINDS or asked.strategy != "none":
        return None
    rows = evaluation_rows(asked.setup, asked.device, asked.practice)
    try:
        return trace_setup(asked.setup, asked.tokens, asked.device, evaluation_rows=rows, practice=asked.practice)
    except UntraceableError:
        return None
