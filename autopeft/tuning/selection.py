"""Which of the recommended candidates a search starts from."""

from collections import Counter
from collections.abc import Mapping

from autopeft.errors import NothingFitsError
from autopeft.methods import baseline, get_method
from autopeft.recommend.confirm import settled
from autopeft.recommend.expect import WORTH
from autopeft.recommend.setting import Setting
from autopeft.values.candidates import Candidate, Recommendation, Suggestion

METHODS_TRIED = 7
"""How many methods a search starts from when the user names none: the recommender's first."""

KIN = 1.0
"""Predicted gain that a method's score loses the worth of for each of its family that is tried before it."""


def starting_candidates(recommendation: Recommendation, setting: Setting, limit: int | None) -> tuple[Candidate, ...]:
    """Returns the first candidate of each recommended method that fits, by score, kin of those before set back.

    The default recipe's method comes first of all: whatever is found has to be better than what everybody would take.
    Advice is a prior. Within a family methods behave alike, so a short search learns less from one more of them.
    """
    first: dict[str, Suggestion] = {}
    for suggestion in recommendation.candidates:
        if suggestion.fits:
            first.setdefault(suggestion.candidate.method, suggestion)
    if not first:
        raise NothingFitsError("None of the recommended candidates fits the memory there is.")
    chosen: list[Candidate] = []
    kin: Counter[str] = Counter()
    while first and (limit is None or len(chosen) < limit):
        name = next_method({name: one.score for name, one in first.items()}, kin, KIN * WORTH)
        suggestion = settled(first.pop(name), setting)
        if suggestion.fits:
            chosen.append(suggestion.candidate)
            kin[get_method(name).family] += 1
    if not chosen:
        raise NothingFitsError("None of the recommended candidates fits the memory there is, once it is traced.")
    return tuple(chosen)


def next_method(scores: Mapping[str, float], kin: Mapping[str, int], back: float) -> str:
    """Returns the method to begin with next: the default recipe's, then the best by its score less what kin costs.

    Args:
        scores: by method, of those that are left.
        kin: how many of each family have been begun with.
        back: what a score loses for each of them.
    """
    default, _ = baseline("default")
    if default in scores:
        return default
    return max(scores, key=lambda name: scores[name] - back * kin.get(get_method(name).family, 0))
