"""A race halves its field, counts everything that it trained, and is won by who comes home."""

import math

import pytest

from autopeft.errors import DivergedError
from autopeft.tasks import Predictions
from autopeft.tuning.race import Fallen, Lap, Performance, run_race
from autopeft.values.candidates import Candidate

LORA = Candidate(method="lora", learning_rate=1.0, batch_size=4)
SAID = Predictions(predicted=[0], expected=[0], losses=[0.1], weights=[1.0])
BUDGET = 400
RATES = (1e-4, 3e-4, 1e-3, 3e-3)


class Track:
    """Its losses are given by rate; a lap takes the tokens from where its state stands."""

    def __init__(self, losses, falls=()):
        self.losses, self.falls = losses, falls
        self.trained: list[tuple[float, list[float]]] = []
        self.left: list[float] = []

    def laps(self, field, share, seconds):
        self.trained.append((share, [entered.learning_rate for entered, _ in field]))
        self.left.append(seconds)
        ends = int(share * BUDGET)
        return [
            Lap(loss=self.losses[entered.learning_rate], tokens=ends - (state or 0), seconds=2.0, state=ends)
            for entered, state in field
        ]

    def home(self, candidate, state, seconds):
        self.trained.append((1.0, [candidate.learning_rate]))
        self.left.append(seconds)
        tokens = BUDGET - (state or 0)
        if candidate.learning_rate in self.falls:
            return Fallen(tokens=tokens, seconds=4.0, error=f"{candidate.learning_rate} fell")
        return Performance(candidate=candidate, validation=SAID, test=SAID, tokens=tokens, seconds=5.0)


def test_the_better_half_goes_on():
    """Four rates run a quarter, the best two the next, the best one home; the race costs two budgets in all."""
    track = Track({1e-4: 0.9, 3e-4: 0.2, 1e-3: 0.1, 3e-3: math.inf})
    won = run_race(track, LORA, RATES, 60.0)
    assert track.trained == [(0.25, list(RATES)), (0.5, [1e-3, 3e-4]), (1.0, [1e-3])]
    assert (won.candidate.learning_rate, won.tokens) == (1e-3, 2 * BUDGET)
    assert track.left == [60.0, 52.0, 48.0], "what was trained is counted, and no time at which others had the process"
    assert won.seconds == 8.0 + 4.0 + 5.0


def test_of_equals_the_lower_rate_goes_on():
    """Two rates with one loss are told apart by what is safer."""
    track = Track(dict.fromkeys(RATES, 0.5))
    assert run_race(track, LORA, RATES, 60.0).candidate.learning_rate == 1e-4


def test_one_rate_runs_home_at_once():
    """Nobody has to be told apart, so nothing is scored on the way."""
    track = Track({})
    won = run_race(track, LORA, (2e-4,), 60.0)
    assert track.trained == [(1.0, [2e-4])]
    assert (won.candidate.learning_rate, won.tokens) == (2e-4, BUDGET)


def test_who_falls_gives_way():
    """The next best comes home in its place, and what the fallen one took is counted; where all fall the race fails."""
    losses = {1e-4: 0.9, 3e-4: 0.2, 1e-3: 0.1, 3e-3: 0.8}
    track = Track(losses, falls=(1e-3,))
    won = run_race(track, LORA, RATES, 60.0)
    assert (won.candidate.learning_rate, won.tokens, won.seconds) == (3e-4, 2 * BUDGET + BUDGET // 2, 8 + 4 + 4 + 5)
    with pytest.raises(DivergedError, match=r"^0\.0003 fell$"):
        run_race(Track(losses, falls=RATES), LORA, RATES, 60.0)
