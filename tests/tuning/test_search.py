"""The end of a search: how long its contenders may train, and what is said of those that do better."""

from types import SimpleNamespace
from typing import Any

import pytest

from autopeft.training.scoring import Objective
from autopeft.tuning.baselines import Baseline
from autopeft.tuning.budget import trial_seconds
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.proposal import proposal
from autopeft.tuning.search import LEAST_TRIALS, _most_seconds, _offered, _outdone
from autopeft.tuning.study import TrialStudy
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Contender, Score
from tests.tuning.child import SETTINGS, STARTS, prepared


def score(value) -> Score:
    return Score(metric="accuracy", value=value, low=0.0, high=1.0, level=0.95, rows=9)


@pytest.mark.parametrize(("lower", "said"), [(False, ["untuned scores 0.9000"]), (True, ["tfidf x scores 0.7000"])])
def test_what_needs_no_tuning_and_does_better_is_said(lower, said):
    """Whoever reads the winner alone learns that a short search came to less than nothing at all."""
    objective = Objective(name="accuracy", metrics={}, lower_is_better=lower)
    notes = _outdone(score(0.8), {"untuned": score(0.9), "tfidf_x": score(0.7), "level": score(0.8)}, objective)
    assert [note.partition(" without")[0] for note in notes] == said


def contender(value) -> Contender:
    config = Candidate(method="lora", learning_rate=value, batch_size=8)
    return Contender(config=config, validation=score(value), test=score(0.5), tokens=1, seconds=1.0)


def offered(folder, default, raced, *, lower=False, objectives=("quality",)):
    """What is said, and the rate in each file that is there, for a winner at 0.8."""
    ready: Any = SimpleNamespace(
        objective=Objective(name="accuracy", metrics={}, lower_is_better=lower), objectives=objectives
    )
    baselines = {
        name: Baseline(contender=None if value is None else contender(value))
        for name, value in (("default_lora", default), ("raced_lora", raced))
    }

    def config(other) -> Any:
        return SimpleNamespace(save=lambda path: path.write_text(str(other.config.learning_rate)))

    notes = list(_offered(ready, baselines, contender(0.8), config, OutputFolder(folder)))
    return notes, {path.name: path.read_text() for path in folder.glob("*.yaml")}


def test_a_baseline_that_validates_better_is_offered(tmp_path):
    """The simpler configuration lies ready where validation prefers it, and nothing else does, however often asked."""
    notes, files = offered(tmp_path, 0.7, 0.9)
    assert notes == [
        "raced lora scores 0.9000 on validation, better than the winner's 0.8000: raced_lora.yaml beside tuned.yaml "
        "trains it in full."
    ]
    assert files == {"raced_lora.yaml": "0.9"}
    assert offered(tmp_path, 0.95, 0.9)[1] == {"default_lora.yaml": "0.95"}
    assert offered(tmp_path, None, 0.7, lower=True)[1] == {"raced_lora.yaml": "0.7"}
    for made in (
        offered(tmp_path, 0.8, 0.7),
        offered(tmp_path, None, None),
        offered(tmp_path, 0.9, 0.9, lower=True),
        offered(tmp_path, 0.9, 0.9, objectives=("quality", "memory")),
    ):
        assert made == ([], {})


def test_whoever_compares_has_the_time_of_the_place_that_searched(tmp_path):
    """A machine that joined late trains contenders as long as the one that searched, and never for no time at all."""
    ready = prepared()
    full = LEAST_TRIALS * trial_seconds(SETTINGS.size, ready.parts, SETTINGS.tokens_per_second)
    late, long = (
        TrialStudy(tmp_path / "study.db", proposal(STARTS, depth=4), seed=0, place=place) for place in ("late", "long")
    )
    assert _most_seconds(late, ready, SETTINGS) == full > 0
    long.spend(1000.0, workers=4)
    late.spend(0.5)
    assert _most_seconds(late, ready, SETTINGS) == 1000.0
    assert late.seconds == 0.5
