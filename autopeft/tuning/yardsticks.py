"""What a winner is measured by: the baselines, trained alike, and what needs no fine-tuning.

It depends on the winner's base alone. Finalists mostly share theirs, so it is trained beside them where there is room.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autopeft.errors import OutOfMemoryError, UndefinedScoreError, first_line
from autopeft.tasks import get_task
from autopeft.tuning.baselines import Trained, train_baselines
from autopeft.tuning.compare import Comparison, default_recipe
from autopeft.tuning.finalists import Final
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.references import tfidf
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
    recipe, *others = map(default_recipe, contenders)
    alike = all(other == recipe for other in others)
    asked: list[Callable[[], Any]] = [hold, lambda: measure(recipe)] if alike else [hold]
    final, *measured = comparison.together(asked)
    settled = default_recipe(final.winner.candidate)
    # The winner may have come from the reserve, with another base.
    return final, measured[0] if measured and settled == recipe else measure(settled)


def _references(
    prepared: Prepared, comparison: Comparison, candidate: Candidate
) -> tuple[dict[str, Score], tuple[str, ...]]:
    """Returns the scores of what needs no fine-tuning, and a note on each that could not be scored here."""
    comparison.begins("Scoring what needs no fine-tuning")
    seed, objective = prepared.seed + 1, prepared.objective
    task = get_task(prepared.model.task)
    asked: dict[str, Callable[[], Score | None]] = {
        "untuned": lambda: comparison.untuned(candidate, seed),
        "tfidf_logistic_regression": lambda: tfidf(prepared.data, task, objective, seed),
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
