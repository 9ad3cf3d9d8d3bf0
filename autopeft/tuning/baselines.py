"""The baselines that a winner stands beside: the default recipe, and a race of its learning rates.

One that diverges, or does not fit with half its rows at once either, is left out with a note: what the search has found
stands without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from autopeft.errors import DivergedError, OutOfMemoryError, UndefinedScoreError, first_line
from autopeft.training.scoring import Objective
from autopeft.tuning.compare import Comparison
from autopeft.tuning.race import Performance
from autopeft.values.candidates import Candidate, halved
from autopeft.values.outcomes import Contender, Difference, Score


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline and what the winner has over it; None for both, with a note that says why, where it was left out."""

    contender: Contender | None = None
    difference: Difference | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A baseline as it was trained; None, with a note that says why, where it was left out."""

    performance: Performance | None = None
    note: str = ""


Train = Callable[[Candidate], Performance]

_TRAINED: Mapping[str, tuple[str, str, Callable[[Comparison, str, Candidate], Performance]]] = {
    "default_lora": ("The default recipe", "Training the default recipe for as many tokens", Comparison.single),
    "raced_lora": ("The race", "Racing four learning rates of the default recipe", Comparison.raced),
}
"""What each baseline is called and what is said while it trains, by its key in the result, and how it is trained."""


def train_baselines(comparison: Comparison, recipe: Candidate) -> dict[str, Trained]:
    """Returns the baselines by their keys in the result.

    Args:
        comparison: trains.
        recipe: the default one, on the base of whoever it is compared with.
    """

    def asked(name: str) -> Trained:
        title, phase, train = _TRAINED[name]
        comparison.begins(phase)
        try:
            return Trained(performance=_fitting(partial(train, comparison, name), recipe))
        except (DivergedError, OutOfMemoryError) as error:
            return Trained(note=_left_out(title, error))

    trained = comparison.together([partial(asked, name) for name in _TRAINED])
    return dict(zip(_TRAINED, trained, strict=True))


def beside(comparison: Comparison, winner: Performance, trained: Mapping[str, Trained]) -> dict[str, Baseline]:
    """Returns what a winner has over each baseline."""
    return {name: _beside(_TRAINED[name][0], comparison, winner, other) for name, other in trained.items()}


def ahead_on_validation(
    baselines: Mapping[str, Baseline], winner: Score, objective: Objective
) -> tuple[str, Contender] | None:
    """Returns the best baseline on validation with its key, where it is better there than the winner, else None.

    The test split has no say in it: it was scored to compare, and who is chosen by it is lucky there.
    """
    trained = [(name, baseline.contender) for name, baseline in baselines.items() if baseline.contender is not None]
    better = [(name, c) for name, c in trained if objective.signed(c.validation.value) > objective.signed(winner.value)]
    return max(better, key=lambda each: objective.signed(each[1].validation.value), default=None)


def _beside(title: str, comparison: Comparison, winner: Performance, trained: Trained) -> Baseline:
    if trained.performance is None:
        return Baseline(note=trained.note)
    try:
        contender = comparison.contender(trained.performance)
        return Baseline(contender=contender, difference=comparison.difference(winner, trained.performance))
    except UndefinedScoreError as error:
        return Baseline(note=_left_out(title, error))


def _left_out(title: str, error: Exception) -> str:
    return f"{title} is left out of the comparison: {first_line(error)}"


def _fitting(train: Train, recipe: Candidate) -> Performance:
    """Returns the performance of a recipe, with half its rows at once where memory runs out: as many per step."""
    try:
        return train(recipe)
    except OutOfMemoryError:
        if recipe.batch_size == 1:
            raise
    return train(halved(recipe))
