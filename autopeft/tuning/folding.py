"""The folds that each trial trains and validates on, where one validation split is too small."""

from autopeft.data import Data, folds
from autopeft.errors import invalid

FOLDED_BELOW = 3000
"""Below so many training rows one validation split is too noisy, and trials are cross-validated."""

FOLDS, REPEATS = 3, 2
"""Folds of the cross-validation, and how often it is done, each time with other folds."""

MOST_TRAININGS = 20


def check_folds(count: int | None, repeats: int | None) -> None:
    """Refuses a cross-validation of no folds, of too many trainings, or one that is repeated and none.

    Raises:
        InvalidValueError: it is one.
    """
    if repeats is not None and repeats < 1:
        raise invalid("repeats", "a search", "at least 1", repeats)
    if count == 1 and repeats is not None:
        raise _none_to_repeat("--folds 1", repeats)
    if count is None or count == 1:
        return
    if count < 1 or count * (repeats or REPEATS) > MOST_TRAININGS:
        expected = f"at least 1, and with its {repeats or REPEATS} repeats at most {MOST_TRAININGS} trainings per trial"
        raise invalid("folds", "a search", expected, count)


def _none_to_repeat(why: str, repeats: int) -> Exception:
    advice = "Trials are not cross-validated then: give --folds 2 or more, or leave it out."
    return invalid("--repeats", f"a search with {why}", "left out", repeats, advice)


def parts_of(data: Data, count: int | None, repeats: int | None, seed: int) -> list[Data]:
    """Returns the folds of a repeated cross-validation, or nothing where the plain split is large enough.

    Raises:
        InvalidValueError: repeats are asked for where it is.
    """
    if count is None:
        rows = len(data.rows["train"])
        count = FOLDS if rows < FOLDED_BELOW else 1
        if count == 1 and repeats is not None:
            raise _none_to_repeat(f"{rows:,} training rows", repeats)
    if count == 1:
        return []
    return [part for repeat in range(repeats or REPEATS) for part in folds(data, count, seed + repeat)]
