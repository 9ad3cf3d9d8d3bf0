"""What a search teaches is kept once, under names that no other search's trials have."""

from types import SimpleNamespace
from typing import Any

import pytest

from autopeft.recommend._evidence_store import FOLDER, SWITCH, forget, kept
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.lessons import keep_lessons
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import TrialOutcome
from tests.recommend.settings import SMALL, hardware, task

SETTINGS = Settings(
    schema_version=1, identity={"seed": 0}, size=TrialSize(tokens=1, pruning_rows=1, scoring_rows=1),
    tokens_per_second=1.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_store(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER, str(tmp_path / "data"))
    monkeypatch.delenv(SWITCH, raising=False)


def taught(folder, numbers, status="completed"):
    """Keeps these trials of a search in this folder and returns how many were new."""
    prepared: Any = SimpleNamespace(
        hardware=hardware(), model=SMALL, task=task(), seed=0,
        objective=SimpleNamespace(name="accuracy", lower_is_better=False),
    )  # fmt: skip
    outcomes = [
        TrialOutcome(number=number, status=status, candidate=Candidate(method="lora", learning_rate=1e-3), score=0.5)
        for number in numbers
    ]
    return keep_lessons(prepared, SETTINGS, outcomes, OutputFolder(folder))


def names():
    return [run.name for run in kept().runs]


def test_the_same_search_in_two_folders_keeps_its_trials_apart(tmp_path):
    """Each trial has a name of its own, so that one of them can be forgotten; what they share is their setting."""
    assert taught(tmp_path / "one", (0, 1)) == taught(tmp_path / "two", (0, 1)) == 2
    assert len(set(names())) == 4
    assert len({run.setting for run in kept().runs}) == 1
    first = names()[0]
    assert forget(lambda run: run.name == first) == 1


def test_trials_of_a_run_that_was_killed_are_taught_by_the_next(tmp_path):
    """What was stored of a search and never kept is kept when it goes on, and what was kept is not kept again."""
    assert taught(tmp_path / "out", (0, 1)) == 2
    assert taught(tmp_path / "out", (0, 1, 2, 3)) == 2
    assert len(set(names())) == len(names()) == 4


def test_a_search_without_lessons_leaves_its_folder_alone(tmp_path):
    """A trial that says nothing of a configuration is not kept, and its folder gets no name for the store."""
    assert taught(tmp_path / "out", (0,), "worker_lost") == 0
    assert not (tmp_path / "out").exists()
