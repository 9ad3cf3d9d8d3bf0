"""What a method lacks, and what would make it fit."""

import math
from collections.abc import Iterable

from autopeft.estimation import draft
from autopeft.methods import Method
from autopeft.recommend.setting import HEADROOM, Setting, plan_setup
from autopeft.values.candidates import Rejection, Suggestion

GIB = 1024**3

SHORTEST_ROW = 16
"""Tokens below which shorter rows are no remedy."""


def gib(count: int) -> str:
    """Returns a number of bytes as GiB with one digit, or two below 1 GiB."""
    value = count / GIB
    return f"{value:.1f} GiB" if value >= 1 else f"{value:.2f} GiB"


def too_large(method: Method, suggestions: Iterable[Suggestion], setting: Setting) -> Rejection:
    """Returns the rejection of a method whose smallest configuration does not fit.

    Args:
        method: the method.
        suggestions: its configurations, each already as small as batch, checkpointing and quantization make it.
        setting: where it would run.
    """
    least = min(suggestions, key=lambda s: s.estimate.memory.total_bytes)
    needed = least.estimate.memory.total_bytes
    return Rejection(
        method=method.name,
        because=(f"It needs {gib(needed)} at the least ({_how(least)}); {gib(setting.memory_limit)} may be used.",),
        lacking_bytes=needed - setting.memory_limit,
        remedy=" or ".join(_remedies(least, setting)),
    )


def nothing_fits(rejected: Iterable[Rejection], setting: Setting) -> str:
    """Returns the message for a setting that no method fits: one line per method."""
    first = f"No method fits {setting.model.architecture} within the constraints on {setting.hardware.device.name}."
    ordered = sorted(rejected, key=lambda r: (r.lacking_bytes == 0, r.lacking_bytes, r.method))
    return "\n".join([first, *(f"  {told(rejection)}" for rejection in ordered)])


def told(rejection: Rejection) -> str:
    """Returns a line on a method that is left out: what it lacks, why, and what would make it fit."""
    lacks = f"lacks {gib(rejection.lacking_bytes)}. " if rejection.lacking_bytes else ""
    remedy = f" It fits with {rejection.remedy}." if rejection.remedy else ""
    return f"{rejection.method}: {lacks}{' '.join(rejection.because)}{remedy}"


def _how(suggestion: Suggestion) -> str:
    candidate = suggestion.candidate
    weights = candidate.dtype if candidate.quantization == "none" else candidate.quantization
    recomputed = ", checkpointing" if candidate.gradient_checkpointing else ""
    return f"{weights} weights, batch {candidate.batch_size}{recomputed}"


def _remedies(least: Suggestion, setting: Setting) -> list[str]:
    remedies = [f"a card with {_card(least.estimate.memory.total_bytes, setting)} GiB"]
    tokens = _shorter_rows(least, setting)
    if tokens:
        remedies.insert(0, f"rows of at most {tokens} tokens")
    return remedies


def _card(needed: int, setting: Setting) -> int:
    """Returns the memory of the card that would do, in whole GiB, with the room that is left unused."""
    room = 1.0 if setting.constraints.memory_bytes is not None else 1 - HEADROOM
    return math.ceil(needed / room / GIB)


def _shorter_rows(least: Suggestion, setting: Setting) -> int | None:
    """Returns the longest of the row lengths halved again and again that fits, None where none does."""
    setup = plan_setup(setting, least.candidate)

    def drafted(tokens: int) -> int:
        cost = draft(setup, tokens_per_row=tokens, hardware=setting.hardware)
        return setting.shared(cost, setup).memory.total_bytes

    # Where it was traced, shorter rows are about as far from their drafts as these are.
    ratio = least.estimate.memory.total_bytes / drafted(setting.tokens_per_row)
    tokens = setting.tokens_per_row // 2
    while tokens >= SHORTEST_ROW:
        if drafted(tokens) * ratio <= setting.memory_limit:
            return tokens
        tokens //= 2
    return None
