"""What a search begins with where its time is short: higher learning rates, and fewer folds."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autopeft.methods import baseline
from autopeft.tuning.budget import LONGEST_EPOCHS, folds_taken
from autopeft.tuning.folder import Settings
from autopeft.tuning.folding import FOLDS
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.space import Range
from autopeft.values.candidates import Candidate

SHORT_STEPS = 200
"""Optimizer steps up to which a trial is short: twice as many as the runs had that the rule below is drawn from."""

HOTTER = 3.1
"""Times its rate at which short trials try the default recipe's method once more: a step of the race of its rates. In
two of four replayed settings that rate wins, and what is found has to be better than a race (benchmarks/LOG.md,
2026-11-22)."""


def for_trials_of(tokens: int, tokens_per_row: float, proposal: Proposal) -> tuple[Candidate, ...]:
    """Returns the starts of a search; where its trials are short, none below the middle of its method's rates.

    Published rates are of thousands of steps. In a hundred, a method at a rate from the lower third of what is
    searched has hardly begun to learn: ``python benchmarks/recommend.py table`` measures what either way loses. The
    default recipe's method is tried at a rate above that too.

    Args:
        tokens: of a full trial.
        tokens_per_row: mean of the training rows.
        proposal: the starts, and the spaces they lie in.
    """
    tried: list[Candidate] = []
    for name, start in proposal.starts.items():
        steps = tokens / (tokens_per_row * start.batch_size * start.accumulation)
        tried += _heated(start, proposal.spaces[name].learning_rate) if steps <= SHORT_STEPS else [start]
    return tuple(tried)


def begun(prepared: Prepared, settings: Settings, spaces: Path | None) -> Prepared:
    """Returns a search that begins as it was settled, with a note on what its time has changed."""
    found = prepared.starting_from(settings.starts, spaces)
    notes = (*_folds_note(prepared, settings), *_rates_note(prepared.proposal, found.proposal))
    return replace(found, notes=(*prepared.notes, *notes))


def _folds_note(prepared: Prepared, settings: Settings) -> Iterator[str]:
    there, taken = len(prepared.parts), folds_taken(settings.size, prepared.parts)
    if taken < there:
        yield (
            f"In the time given, {there} trainings per trial would be shorter than {LONGEST_EPOCHS} epochs each, so a"
            f" trial takes {taken} of the folds; --folds {FOLDS} takes them all."
        )


def _rates_note(advised: Proposal, settled: Proposal) -> Iterator[str]:
    changes = [
        f"{name} from {old.learning_rate:.2g} to {settled.starts[name].learning_rate:.2g}"
        for name, old in advised.starts.items()
        if name in settled.starts and settled.starts[name].learning_rate != old.learning_rate
    ]
    if changes:
        yield f"Trials are short, so starts have at least the middle of the rates searched: {', '.join(changes)}."


def _heated(start: Candidate, searched: Range) -> list[Candidate]:
    """Returns what short trials try of a method: its start, raised, and of the default recipe's a hotter one."""
    if searched.choices or not searched.low or not searched.high:
        return [start]
    middle = math.sqrt(searched.low * searched.high)
    raised = replace(start, learning_rate=max(start.learning_rate, _rounded(middle)))
    hotter = replace(raised, learning_rate=_rounded(HOTTER * raised.learning_rate))
    default, _ = baseline("default")
    return [raised, hotter] if start.method == default and hotter.learning_rate <= searched.high else [raised]


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")
