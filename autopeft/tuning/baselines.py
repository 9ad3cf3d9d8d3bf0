"""The baselines that a winner stands beside: the default recipe, and a race of its learning rates.

One that diverges, or does not fit with half its rows at once either, is left out with a note: what the search has found
stands without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from autopeft.errors import DivergedError, OutOfMemoryError, UndefinedScoreError, first_line
from autopeft.training.scoring import Objective
from autopeft.tuning.compare import Comparison, default_recipe
from autopeft.tuning.race import Performance
from autopeft.values.candidates import Candidate, halved
from autopeft.values.outcomes import Contender, Difference, Score


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline and what the winner has over it; None for both, with a note that says why, where it was left out."""

    contender: Contender | None = None
    difference: Difference | None = None
    note: str = ""


Train = Callable[[Candidate], Performance]

_TRAINED: Mapping[str, tuple[str, str, Callable[[Comparison, str, Candidate], Performance]]] = {
    "default_lora": ("The default recipe", "Training the default recipe for as many tokens", Comparison.single),
    "raced_lora": ("The race", "Racing four learning rates of the default recipe", Comparison.raced),
}
"""What each baseline is called and what is said while it trains, by its key in the result, and how it is trained."""


def train_baselines(comparison: Comparison, winner: Performance, tell: Callable[[str], None]) -> dict[str, Baseline]:
    """Returns the baselines by their keys in the result.

    Args:
        comparison: trains and scores.
        winner: what they are compared with, on whose base they train.
        tell: is told who is being trained.
    """
    recipe = default_recipe(winner.candidate)

    def asked(name: str) -> Baseline:
        title, phase, train = _TRAINED[name]
        tell(phase)
        return _baseline(title, comparison, winner, partial(train, comparison, name), recipe)

    trained = comparison.together([partial(asked, name) for name in _TRAINED])
    return dict(zip(_TRAINED, trained, strict=True))


def ahead_on_validation(
    baselines: Mapping[str, Baseline], winner: Score, objective: Objective
) -> tuple[str, Contender] | None:
    """Returns the best baseline on validation with its key, where it is better there than the winner, else None.

    The test split has no say in it: it was scored to compare, and who is chosen by it is lucky there.
    """
    trained = [(name, baseline.contender) for name, baseline in baselines.items() if baseline.contender is not None]
    better = [(name, c) for name, c in trained if objective.signed(c.validation.value) > objective.signed(winner.value)]
    return max(better, key=lambda each: objective.signed(each[1].validation.value), default=None)


def _baseline(title: str, comparison: Comparison, winner: Performance, train: Train, recipe: Candidate) -> Baseline:
    try:
        trained = _fitting(train, recipe)
        return Baseline(contender=comparison.contender(trained), difference=comparison.difference(winner, trained))
    except (DivergedError, OutOfMemoryError, UndefinedScoreError) as error:
        return Baseline(note=f"{title} is left out of the comparison: {first_line(error)}")


def _fitting(train: Train, recipe: Candidate) -> Performance:
    """Returns the performance of a recipe, with half its rows at once where memory runs out: as many per step."""
    try:
        return train(recipe)
    except OutOfMemoryError:
        if recipe.batch_size == 1:
            raise
    return train(halved(recipe))
