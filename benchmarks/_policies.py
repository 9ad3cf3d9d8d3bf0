"""What comes of each policy in settings that the surrogate has not seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from autopeft.recommend.expect import WORTH
from benchmarks._evaluate import Array, Choice, default_scores, followed, overall_best, random_choice, settings
from benchmarks._gains import Row

KNOWN_SHARE = 0.8
"""Of a setting's runs, about which the rules have to have something to say; the others come last."""


def choices(
    found: Sequence[Row], scheme: str, predicted: Array, ruled: Sequence[float | None]
) -> Mapping[str, list[Choice]]:
    """Returns what came of each policy in each setting.

    Args:
        found: the runs.
        scheme: what was left out.
        predicted: gains, by predictions that have not seen it.
        ruled: scores by the rules, None where they cannot be asked.
    """
    best, suggested = overall_best(found, scheme), weighed(predicted, ruled)
    policies: dict[str, Callable[[list[int]], Choice | None]] = {
        "surrogate": lambda places: followed(found, places, predicted[places]),
        "always default LoRA": lambda places: without_order(followed(found, places, default_scores(found, places))),
        "evidence's overall best": lambda places: followed(found, places, best[places]),
        "rules alone": lambda places: by_rules(found, places, ruled),
        "rules with the surrogate, as suggest": lambda places: by_rules(found, places, suggested),
        "random": lambda places: random_choice(found, places),
    }
    if scheme == "method":  # of one that is left out nothing is known, so that it would be a choice by chance
        del policies["evidence's overall best"]
    return {
        name: [made for places in settings(found) if (made := policy(places)) is not None]
        for name, policy in policies.items()
    }


def without_order(choice: Choice) -> Choice:
    """Returns the choice of a policy that has a first suggestion and nothing after it."""
    return replace(choice, best_of_three=float("nan"), rank=float("nan"))


def weighed(predicted: Array, ruled: Sequence[float | None], worth: float = WORTH) -> list[float | None]:
    """Returns the rules' scores with the weight that `suggest` gives to predictions, or another one."""
    added = worth * predicted
    return [None if value is None else value + float(more) for value, more in zip(ruled, added, strict=True)]


def by_rules(found: Sequence[Row], places: Sequence[int], scores: Sequence[float | None]) -> Choice | None:
    """Returns what the order of some scores comes to; None where too many of a setting's runs have none."""
    known = [value for place in places if (value := scores[place]) is not None]
    if len(known) < KNOWN_SHARE * len(places):
        return None
    own = [scores[place] for place in places]
    return followed(found, places, np.array([min(known) - 1 if value is None else value for value in own]))
