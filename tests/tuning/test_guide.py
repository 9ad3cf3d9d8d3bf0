"""Every other trial that is drawn is the one of a few that measured runs speak best of."""

from dataclasses import replace

import pytest

from autopeft.tuning.guide import DRAWS, GUIDED, Guide
from autopeft.tuning.proposal import proposal
from autopeft.tuning.study import TrialStudy
from autopeft.values.candidates import Candidate
from autopeft.values.names import Status
from autopeft.values.outcomes import Measurement, TrialOutcome
from tests.recommend.settings import SMALL, task
from tests.tuning.child import STARTS


class Keen:
    """Expects most of the highest learning rate."""

    def __init__(self):
        self.asked = []

    def best(self, candidates):
        self.asked.append(candidates)
        return max(candidates, key=lambda candidate: candidate.learning_rate)


def guided(judge):
    return replace(proposal(STARTS, depth=4), guide=judge)


READ = (Measurement(tokens=1, seconds=1.0, train_loss=1.0, validation_loss=1.0),)


def run(study):
    """Runs a trial to its end, and returns its candidate."""
    trial, candidate = study.ask()
    study.tell(trial, TrialOutcome(number=trial.number, status="completed", candidate=candidate, curve=READ))
    return candidate


def test_every_other_draw_is_the_most_promising_of_a_few(tmp_path):
    """Starts come first and unjudged; then draws are judged in turn with the sampler's, which judges none."""
    judge = Keen()
    study = TrialStudy(tmp_path / "study.db", guided(judge), seed=0)
    study.enqueue(STARTS)
    assert [run(study).method for _ in STARTS] == [start.method for start in STARTS]
    assert judge.asked == []
    tried = [run(study) for _ in range(2 * GUIDED)]
    assert [len(candidates) for candidates in judge.asked] == [DRAWS, DRAWS]
    best = [max(candidate.learning_rate for candidate in candidates) for candidates in judge.asked]
    assert [candidate.learning_rate for candidate in tried[::GUIDED]] == pytest.approx(best)


def test_a_resumed_search_judges_the_same_draws():
    """The draws hang on the trial's number and the seed alone."""
    first, again, other = Keen(), Keen(), Keen()
    assert guided(first).promising(4, 7) == guided(again).promising(4, 7) != guided(other).promising(4, 8)
    assert first.asked == again.asked
    assert guided(first).promising(5, 7) == proposal(STARTS, depth=4).promising(4, 7) == {}


def test_a_method_that_was_too_slow_is_not_proposed_again(tmp_path):
    """The guide knows gains, and not what they cost here: it has no say for what took too long for a trial."""
    judge = Keen()
    study = TrialStudy(tmp_path / "study.db", guided(judge), seed=0)
    study.enqueue(STARTS)
    trial, slow = study.ask()
    study.tell(trial, TrialOutcome(number=0, status="timed_out", candidate=slow, too_slow=True))
    for _ in range(4 * GUIDED):
        trial, drawn = study.ask()
        again = drawn.method == slow.method  # the sampler may still try it
        status: Status = "timed_out" if again else "completed"
        study.tell(trial, TrialOutcome(number=trial.number, status=status, candidate=drawn, curve=READ, too_slow=again))
    assert judge.asked
    assert slow.method not in {candidate.method for asked in judge.asked for candidate in asked}
    done = replace(slow, learning_rate=slow.learning_rate / 2)
    study.enqueue([done])
    assert run(study).method == slow.method
    assert study._slow() == set(), "once it has come to an end it is not too slow"
    every = {start.method for start in STARTS}
    assert guided(Keen()).promising(4, 7, every) == {}, "with nothing left to judge the sampler draws"


def test_the_surrogate_judges_a_rate_by_its_method():
    """A rate at the lower end of its method's range is expected to starve it, whatever layers the gradient picks."""
    guide = Guide(model=SMALL, task=task(), tokens=50_000)
    lora = Candidate(
        method="lora", parameters={"rank": 8, "alpha": 16, "dropout": 0.0}, layers="gradient:2", learning_rate=1e-3
    )
    starved, fed = (replace(lora, learning_rate=rate) for rate in (2e-5, 1e-3))
    assert guide.best([starved, fed, starved]) == fed
