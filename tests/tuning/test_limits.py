"""When a search stops, and what it does when memory runs out."""

import time
from dataclasses import replace

from autopeft.cli.options import parse_tokens, seconds_for
from autopeft.tuning.limits import FLAT_AFTER, Limits, is_flat, may_begin, may_go_on, tokens_spent
from autopeft.tuning.observer import Silent
from autopeft.tuning.trials import Trials, attempt
from autopeft.values.outcomes import TrialOutcome
from tests.tuning.child import SimulatedRunner, open_study, prepared
from tests.tuning.test_halving import SETTINGS, trial


def test_tokens_and_money_become_limits():
    """Counts and amounts are read as people write them."""
    assert [parse_tokens(text) for text in ("12", "500k", "1.5M")] == [12, 500_000, 1_500_000]
    assert seconds_for("5USD", "1.25/h") == 4 * 3600
    assert seconds_for(None, None) is None


def test_spent_tokens_end_a_search_that_has_a_result():
    """Once the tokens are spent nothing begins; what waits goes on only until one trial has been completed."""
    limits = Limits(tokens=100)
    waiting = [replace(trial(n, 0.5), tokens=60) for n in range(2)]
    assert tokens_spent(waiting) == 120
    assert not may_begin(limits, waiting, 10.0)
    assert may_go_on(limits, waiting, 10.0)
    assert not may_go_on(limits, [*waiting, trial(2, 0.5, 0.4, 0.3, status="completed")], 10.0)
    assert may_begin(limits, waiting[:1], 10.0)


def test_a_search_is_flat_when_nothing_better_comes():
    """A better first reading or a better score starts the count anew."""
    falling = [trial(n, 1.0 - n / 100) for n in range(30)]
    assert not is_flat(falling)
    worse = [trial(30 + n, 2.0) for n in range(FLAT_AFTER)]
    assert not is_flat([*falling, *worse[:-1]])
    assert is_flat([*falling, *worse])
    one = TrialOutcome(number=60, status="infeasible", candidate=worse[0].candidate)
    untried = [replace(one, number=60 + n) for n in range(FLAT_AFTER)]
    assert not is_flat([*falling, *worse[:-1], *untried]), "what was never trained says nothing"
    better = replace(trial(90, 2.0, 1.0, 1.0, status="completed"), score=0.9)
    assert not is_flat([*falling, *worse, better])


def test_out_of_memory_is_tried_once_more_with_half_the_rows(tmp_path):
    """A trial that runs out of memory is run again with half the micro-batch and twice the accumulation, once."""
    asked = []

    class Small(SimulatedRunner):
        def run(self, number, candidate, plan, stops, deadline, earlier):
            asked.append((candidate.batch_size, candidate.accumulation))
            if candidate.batch_size > 8:
                return TrialOutcome(
                    number=number, status="out_of_memory", candidate=candidate, seconds=1.0, reason="full"
                )
            return super().run(number, candidate, plan, stops, deadline, earlier)

    study = open_study(tmp_path)
    Trials(study, Small(0.0), prepared(), SETTINGS, Silent()).run(Limits(trials=1), time.monotonic())
    (outcome,) = study.outcomes()
    assert outcome.status == "completed"
    assert (outcome.candidate.batch_size, outcome.candidate.accumulation) == (8, 2)
    assert asked[:2] == [(16, 1), (8, 2)]
    assert set(asked[2:]) <= {(8, 2)}, "what goes on keeps the batch that fitted"


def test_the_peak_at_which_memory_ran_out_is_kept():
    """It is what shows that the estimate was too low, whatever the second try comes to."""

    def train(candidate, _earlier):
        full = candidate.batch_size > 8
        return TrialOutcome(
            number=0, candidate=candidate, status="out_of_memory" if full else "completed",
            peak_bytes=(3 if full else 2) * 2**30,
        )  # fmt: skip

    candidate = replace(trial(0, 1.0).candidate, batch_size=16)
    outcome = attempt(0, candidate, None, prepared(), train)
    assert (outcome.status, outcome.peak_bytes) == ("completed", 2 * 2**30)
    assert outcome.reason == "16 rows at once ran out of memory at a peak of 3.0 GiB, so it was run with half."


def test_a_continuation_that_runs_out_of_memory_is_not_continued_again(tmp_path):
    """Begun anew with half the rows, it stands for what it went on from; nothing is trained for ever."""
    asked = []

    class Growing(SimulatedRunner):
        def run(self, number, candidate, plan, stops, deadline, earlier):
            asked.append((number, candidate.batch_size, earlier.number if earlier else None))
            assert len(asked) < 20, "the same trial is begun again and again"
            if earlier is not None and candidate.batch_size > 8:
                return TrialOutcome(
                    number=number, status="out_of_memory", candidate=candidate, reason="full", continues=earlier.number
                )
            return super().run(number, candidate, plan, stops, deadline, earlier)

    study = open_study(tmp_path)
    Trials(study, Growing(0.0), prepared(), SETTINGS, Silent()).run(Limits(trials=1), time.monotonic())
    (outcome,) = study.outcomes()
    assert (outcome.status, outcome.candidate.batch_size) == ("completed", 8)
    assert [how for _, *how in asked[:3]] == [[16, None], [16, 0], [8, None]]
    assert outcome.continues is not None
