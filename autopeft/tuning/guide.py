"""What measured runs say of candidates before they are tried: it draws a part of a search's trials towards them."""

from collections.abc import Sequence
from dataclasses import dataclass

from autopeft.estimation.memory import trained_parameters
from autopeft.methods import get_method
from autopeft.recommend import surrogate
from autopeft.recommend._surrogate_features import describe_candidate
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.profiles import ModelProfile, TaskProfile

GUIDED = 2
"""Every so many trials that are drawn, one is the most promising of a few; the others are the sampler's, which learns
from what this search itself has measured. ``python -m benchmarks.replay`` compares the shares."""

DRAWS = 8
"""Candidates drawn by chance of which the most promising is tried."""


@dataclass(frozen=True, kw_only=True)
class Guide:
    """Judges candidates by the recommender's surrogate, as trials of so many tokens on one model and task."""

    model: ModelProfile
    task: TaskProfile
    tokens: int

    def best(self, candidates: Sequence[Candidate]) -> Candidate:
        """Returns the candidate that is expected to gain most."""
        described = [
            describe_candidate(
                candidate, get_method(candidate.method), self.model, self.task, trainable=self._trainable(candidate),
                tokens=self.tokens,
            )
            for candidate in candidates
        ]  # fmt: skip
        expected = [prediction.points for prediction in surrogate.predict(described, neighbours=0)]
        return candidates[expected.index(max(expected))]

    def _trainable(self, candidate: Candidate) -> int:
        setup = Setup(model=self.model, task=self.task.task, candidate=candidate)
        return trained_parameters(setup, get_method(candidate.method).trainable(setup))
