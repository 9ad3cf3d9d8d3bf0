"""What a winner is measured by: the baselines, trained alike, and what needs no fine-tuning.

It depends on the winner's base alone, and on how many rows there is memory for. Finalists mostly share their base, so
it is trained beside them where there is room, with as many rows at once as any of them has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autopeft.errors import OutOfMemoryError, UndefinedScoreError, first_line
from autopeft.tuning.baselines import Trained, train_baselines
from autopeft.tuning.compare import Comparison, default_recipe
from autopeft.tuning.finalists import Final
from autopeft.tuning.prepare import Prepared
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Score


@dataclass(frozen=True, kw_only=True)
class Yardsticks:
    """What a winner is measured by.

    Attributes:
        trained: the baselines, by their keys in the result.
        references: scores on test of what needs no fine-tuning, by name.
        notes: on each of those that could not be scored here.
    """

    trained: Mapping[str, Trained]
    references: Mapping[str, Score]
    notes: tuple[str, ...]


def yardsticks(prepared: Prepared, comparison: Comparison, recipe: Candidate) -> Yardsticks:
    """Returns what the winners on a base are measured by.

    Args:
        prepared: the search.
        comparison: trains and scores.
        recipe: the default recipe on that base.
    """
    asked: list[Callable[[], Any]] = [
        lambda: train_baselines(comparison, recipe),
        lambda: _references(prepared, comparison, recipe),
    ]
    trained, (references, notes) = comparison.together(asked)
    return Yardsticks(trained=trained, references=references, notes=notes)


def final_and_yardsticks(
    comparison: Comparison,
    hold: Callable[[], Final],
    measure: Callable[[Candidate], Yardsticks],
    contenders: Sequence[Candidate],
) -> tuple[Final, Yardsticks]:
    """Returns the final with what its winner is measured by, trained beside it where all contenders have that alike.

    Args:
        comparison: trains.
        hold: holds the final.
        measure: returns the yardsticks for a default recipe.
        contenders: who is expected in the final.
    """
    # Fewer at once train slower, and what does not fit is tried again with half.
    recipe, *others = sorted(map(default_recipe, contenders), key=lambda each: -each.batch_size)
    ended: list[Final] = []

    def final() -> Final:
        ended.append(hold())
        return ended[0]

    def beside() -> Yardsticks | None:
        # Where one is trained after the other, the winner may have come from the reserve already, with another base.
        in_vain = ended and not _alike(default_recipe(ended[0].winner.candidate), recipe)
        return None if in_vain else measure(recipe)

    together = all(_alike(other, recipe) for other in others)
    asked: list[Callable[[], Any]] = [final, beside] if together else [final]
    held, *measured = comparison.together(asked)
    settled = default_recipe(held.winner.candidate)
    known = measured[0] if measured and _alike(settled, recipe) else None
    return held, measure(settled) if known is None else known


def _alike(one: Candidate, other: Candidate) -> bool:
    """Returns whether two recipes train the same, however many rows of a step they take at once."""
    return replace(one, batch_size=other.batch_size, accumulation=other.accumulation) == other


def _references(
    prepared: Prepared, comparison: Comparison, candidate: Candidate
) -> tuple[dict[str, Score], tuple[str, ...]]:
    """Returns the scores of what needs no fine-tuning, and a note on each that could not be scored here."""
    comparison.begins("Scoring what needs no fine-tuning")
    seed = prepared.seed + 1
    asked: dict[str, Callable[[], Score | None]] = {
        "untuned": lambda: comparison.untuned(candidate, seed),
        "tfidf_logistic_regression": lambda: comparison.tfidf(prepared, seed),
    }
    found: dict[str, Score] = {}
    notes = []
    for name, ask in asked.items():
        try:
            scored = ask()
        except (OutOfMemoryError, UndefinedScoreError) as error:
            notes.append(f"There is no score of {name.replace('_', ' ')}: {first_line(error)}")
            continue
        if scored is not None:
            found[name] = scored
    return found, tuple(notes)
