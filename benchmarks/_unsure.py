"""What would teach the surrogate most: of many candidates those whose gain it knows least, one after the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from autopeft.estimation.memory import trained_parameters
from autopeft.methods import get_method
from autopeft.recommend._surrogate_features import TERMS, Described, describe_candidate
from autopeft.recommend.surrogate import Surrogate, covariance, design
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.predictions import Unit
from autopeft.values.profiles import ModelProfile, TaskProfile


def described(candidate: Candidate, model: ModelProfile, task: TaskProfile, tokens: int) -> Described:
    """Returns a candidate as the surrogate sees it, trained on so many tokens."""
    method = get_method(candidate.method)
    setup = Setup(model=model, task=task.task, candidate=candidate)
    trainable = trained_parameters(setup, method.trainable(setup))
    return describe_candidate(candidate, method, model, task, trainable=trainable, tokens=tokens)


def least_known(candidates: Sequence[Described], count: int, unit: Unit, fitted: Surrogate) -> list[int]:
    """Returns the places of so many candidates, each the one that teaches most after those before it.

    What a run teaches is the variance of its expected gain over that of what no other run can tell: noise, and how the
    setting and the rate differ from others. MacKay 1992, "Information-Based Objective Functions for Active Data
    Selection".
    """
    unseen = sorted({candidate.method.name for candidate in candidates} - set(fitted.methods))
    inputs = np.array([design(candidate, (*fitted.methods, *unseen)) for candidate in candidates])
    own = np.full(len(inputs), fitted.setting_variance + fitted.reference_variance + fitted.noise[unit])
    for name, variance in fitted.rate_variance.items():
        own += variance * inputs[:, TERMS.index(name)] ** 2
    unknown, chosen = block_diag(covariance(fitted), fitted.method_variance * np.eye(len(unseen))), list[int]()
    while len(chosen) < min(count, len(candidates)):
        told = inputs @ unknown
        teaches: np.ndarray[Any, Any] = (told * inputs).sum(axis=1) / own
        teaches[chosen] = -np.inf
        chosen.append(place := int(teaches.argmax()))
        unknown = unknown - np.outer(told[place], told[place]) / (own[place] * (1 + teaches[place]))
    return chosen
