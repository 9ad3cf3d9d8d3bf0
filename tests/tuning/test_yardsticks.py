"""What a winner is measured by is trained beside the final where that cannot be in vain, and is the winner's own."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from autopeft.tuning.compare import default_recipe
from autopeft.tuning.yardsticks import final_and_yardsticks
from autopeft.values.candidates import Candidate

PLAIN = Candidate(method="ia3", learning_rate=1e-3, batch_size=8)
OTHER = replace(PLAIN, method="full", targets="none", learning_rate=2e-5)
NF4 = replace(PLAIN, quantization="nf4")
WIDE = replace(PLAIN, batch_size=16)


def told(contenders, winner, *, late=False) -> list[str]:
    """What was done, in order; a late final ends after what is trained beside it."""
    done: list[str] = []

    def hold() -> Any:
        done.append("final")
        return SimpleNamespace(winner=SimpleNamespace(candidate=winner))

    def measure(recipe) -> Any:
        done.append(recipe.quantization)
        return recipe

    def together(calls):
        done.append(f"{len(calls)} at once")
        found = [call() for call in (reversed(calls) if late else calls)]
        return list(reversed(found)) if late else found

    comparison: Any = SimpleNamespace(together=together)
    measured: Any
    _, measured = final_and_yardsticks(comparison, hold, measure, contenders)
    settled = default_recipe(winner)
    assert replace(measured, batch_size=settled.batch_size, accumulation=settled.accumulation) == settled
    assert measured.batch_size >= settled.batch_size
    return done


@pytest.mark.parametrize(
    ("contenders", "winner", "done"),
    [
        ([PLAIN], PLAIN, ["2 at once", "final", "none"]),
        ([PLAIN, OTHER], OTHER, ["2 at once", "final", "none"]),
        ([PLAIN, NF4], NF4, ["1 at once", "final", "nf4"]),
        ([PLAIN, NF4], PLAIN, ["1 at once", "final", "none"]),
        ([PLAIN, WIDE], PLAIN, ["2 at once", "final", "none"]),
        ([PLAIN], NF4, ["2 at once", "final", "nf4"]),
    ],
    ids=["one", "alike", "the second of two bases", "the first of two bases", "other rows", "from the reserve"],
)
def test_yardsticks_are_those_of_the_winners_base(contenders, winner, done):
    """Beside the final where all finalists have them alike, after it where not, or where it shows another winner."""
    assert told(contenders, winner) == done


def test_what_was_trained_for_another_base_is_trained_once_more():
    """Side by side nobody knew who would win: here somebody from the reserve."""
    assert told([PLAIN], NF4, late=True) == ["2 at once", "none", "final", "nf4"]
