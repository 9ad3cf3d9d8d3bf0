"""A baseline that cannot be trained is left out, and one that was kept is taken only for what it was trained as."""

from dataclasses import replace

import pytest

from autopeft.errors import DivergedError, OutOfMemoryError
from autopeft.tasks import Predictions
from autopeft.training.scoring import Objective
from autopeft.tuning.baselines import beside, train_baselines
from autopeft.tuning.compare import RACED_RATES, Comparison, default_recipe
from autopeft.tuning.race import Performance
from autopeft.values.candidates import Candidate

WINNER = Candidate(method="ia3", learning_rate=1e-3, batch_size=12)


def accuracy(predictions):
    pairs = zip(predictions.predicted, predictions.expected, strict=True)
    return sum(a == b for a, b in pairs) / len(predictions.expected)


OBJECTIVE = Objective(name="accuracy", metrics={"accuracy": accuracy}, lower_is_better=False)
SAID = Predictions(predicted=[0, 1, 1], expected=[0, 1, 0], losses=[0.1, 0.2, 3.0], weights=[1.0] * 3)


def performance(candidate):
    return Performance(candidate=candidate, validation=SAID, test=SAID, tokens=10, seconds=1.0)


class Contest:
    """Answers at once, or fails as it is told to; notes what it was asked."""

    def __init__(self, fails=lambda _candidate, _rates: None):
        self.fails = fails
        self.asked: list[tuple[Candidate, tuple[float, ...]]] = []

    def together(self, calls, _look):
        return [call() for call in calls]

    def race(self, candidate, rates):
        self.asked.append((candidate, tuple(rates)))
        if (error := self.fails(candidate, rates)) is not None:
            raise error
        return performance(replace(candidate, learning_rate=rates[-1]))


def compared(folder, contest):
    return Comparison(contest, OBJECTIVE, 0, folder)


def baselines(folder, fails=lambda _candidate, _rates: None):
    contest = Contest(fails)
    made = compared(folder, contest)
    trained = train_baselines(made, default_recipe(WINNER))
    return beside(made, performance(WINNER), trained), contest.asked


def test_a_baseline_that_diverges_is_left_out(tmp_path):
    """The search keeps its result: the baseline is None, a note says why, and the other one stands."""
    failed = DivergedError("The training loss became nan at step 3; lower the learning rate.\nMore.")
    found, _ = baselines(tmp_path, lambda _, rates: failed if len(rates) > 1 else None)
    assert (found["raced_lora"].contender, found["raced_lora"].difference) == (None, None)
    assert found["raced_lora"].note == (
        "The race is left out of the comparison: The training loss became nan at step 3; lower the learning rate."
    )
    assert found["default_lora"].contender is not None
    assert found["default_lora"].note == ""


def test_a_baseline_that_does_not_fit_is_trained_with_half_its_rows_at_once(tmp_path):
    """Once, with as many rows per optimizer step; where that does not fit either it is left out."""
    full = OutOfMemoryError("CUDA out of memory.")
    found, asked = baselines(tmp_path / "half", lambda candidate, _: full if candidate.batch_size > 4 else None)
    assert [(c.batch_size, c.accumulation) for c, _ in asked] == [(8, 2), (4, 4)] * 2
    assert all(one.contender and one.contender.config.batch_size == 4 for one in found.values())
    found, asked = baselines(tmp_path / "none", lambda *_: full)
    assert len(asked) == 4
    assert [one.contender for one in found.values()] == [None, None]
    assert all(one.note.endswith("left out of the comparison: CUDA out of memory.") for one in found.values())


@pytest.mark.parametrize("rows", [1, 5, 12, 16, 32])
def test_the_default_recipe_takes_sixteen_rows_a_step(rows):
    """Whatever the winner takes at once, the recipe sees its sixteen rows per step, and no more of them at once."""
    recipe = default_recipe(replace(WINNER, batch_size=rows, schedule="constant"))
    assert recipe.schedule == "linear", "as the recipe has it, whatever the winner took"
    assert recipe.batch_size * recipe.accumulation == 16
    assert recipe.batch_size <= rows


def test_what_was_trained_on_another_base_is_trained_anew(tmp_path):
    """A kept baseline stands for the recipe it was trained as; another winner's base, or micro-batch, asks anew."""
    contest = Contest()
    made = compared(tmp_path, contest)
    one = default_recipe(WINNER)
    for candidate in (one, one, replace(one, quantization="nf4"), replace(one, quantization="nf4")):
        made.single("default_lora", candidate)
        made.raced("raced_lora", candidate)
    assert [candidate.quantization for candidate, _ in contest.asked] == ["none", "none", "nf4", "nf4"]
    assert [len(rates) for _, rates in contest.asked] == [1, len(RACED_RATES)] * 2
    assert made.raced("raced_lora", replace(one, quantization="nf4")).candidate.learning_rate == RACED_RATES[-1]
