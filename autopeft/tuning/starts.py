"""What a search begins with where its time is short: higher learning rates, and fewer folds."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autopeft.tuning.budget import LONGEST_EPOCHS, folds_taken
from autopeft.tuning.folder import Settings
from autopeft.tuning.folding import FOLDS
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.space import Range
from autopeft.values.candidates import Candidate

SHORT_STEPS = 200
"""Optimizer steps up to which a trial is short: twice as many as the runs had that the rule below is drawn from."""


def for_trials_of(tokens: int, tokens_per_row: float, proposal: Proposal) -> tuple[Candidate, ...]:
    """Returns the starts of a search; where its trials are short, none below the middle of its method's rates.

    Published rates are of thousands of steps. In a hundred, a method at a rate from the lower third of what is
    searched has hardly begun to learn: ``python benchmarks/recommend.py table`` measures what either way loses.

    Args:
        tokens: of a full trial.
        tokens_per_row: mean of the training rows.
        proposal: the starts, and the spaces they lie in.
    """
    return tuple(
        _raised(start, proposal.spaces[name].learning_rate)
        if tokens / (tokens_per_row * start.batch_size * start.accumulation) <= SHORT_STEPS
        else start
        for name, start in proposal.starts.items()
    )


def begun(prepared: Prepared, settings: Settings, spaces: Path | None) -> Prepared:
    """Returns a search that begins as it was settled, with a note on what its time has changed."""
    notes = (*_folds_note(prepared, settings), *_rates_note(prepared, settings))
    return replace(prepared.starting_from(settings.starts, spaces), notes=(*prepared.notes, *notes))


def _folds_note(prepared: Prepared, settings: Settings) -> Iterator[str]:
    there, taken = len(prepared.parts), folds_taken(settings.size, prepared.parts)
    if taken < there:
        yield (
            f"In the time given, {there} trainings per trial would be shorter than {LONGEST_EPOCHS} epochs each, so a"
            f" trial takes {taken} of the folds; --folds {FOLDS} takes them all."
        )


def _rates_note(prepared: Prepared, settings: Settings) -> Iterator[str]:
    changes = [
        f"{new.method} from {old.learning_rate:.2g} to {new.learning_rate:.2g}"
        for old, new in zip(prepared.starts, settings.starts, strict=True)
        if new.learning_rate != old.learning_rate
    ]
    if changes:
        yield f"Trials are short, so starts have at least the middle of the rates searched: {', '.join(changes)}."


def _raised(start: Candidate, searched: Range) -> Candidate:
    if searched.choices or not searched.low or not searched.high:
        return start
    middle = math.sqrt(searched.low * searched.high)
    return replace(start, learning_rate=max(start.learning_rate, float(f"{middle:.2g}")))
