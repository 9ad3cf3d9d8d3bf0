"""How long trials are: the time they are cut from, and what scoring takes of it."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.data import encode, load_data
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.training.worker import Worker
from autopeft.tuning.budget import FULL_TRIALS, LONGEST_EPOCHS, evaluation_seconds, measure_speed, trial_size
from autopeft.tuning.halving import READINGS, SHORT_READINGS
from autopeft.values.candidates import Candidate


class _Split(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.lengths)


def data_of(rows, validation, length) -> Any:
    return {"train": _Split(lengths=[length] * rows), "validation": _Split(lengths=[length] * validation)}


@given(
    rows=st.integers(100, 5000), length=st.integers(4, 500), speed=st.floats(20, 1e6), seconds=st.floats(60, 36000),
    parts=st.sampled_from([1, 3, 6]),
)  # fmt: skip
def test_a_scored_trial_fits_its_share_of_the_time(rows, length, speed, seconds, parts):
    """Training and scoring together stay in the share, unless the fewest rows that say something take more."""
    data = data_of(rows, rows // 8, length)
    size = trial_size(data, speed, seconds, None, parts, 16)
    share = seconds / FULL_TRIALS / (1 + (parts - 1) / 3)
    training = size.tokens / speed
    scoring = evaluation_seconds(size, data["validation"], speed)
    assert 1 <= size.tokens <= LONGEST_EPOCHS * rows * length
    assert 1 <= size.pruning_rows <= len(data["validation"])
    assert 1 <= size.scoring_rows <= len(data["validation"])
    fewest = (len(size.readings) * 16 + 32) * length / 3 / speed
    assert training <= share + 1 / speed
    assert training + scoring <= share + max(fewest, 0.0) + 2 / speed


def test_speed_is_measured_over_two_steps_at_least(tiny_models, tmp_path, monkeypatch):
    """A first batch that holds all the tokens of the probe, because its rows are very long, leaves none to be timed."""
    lines = [f"{'word ' * (60 if n < 8 else 1)}{n},{n % 2}" for n in range(400)]
    (tmp_path / "toy.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    model = str(tiny_models["bert"])
    data = encode(load_data(str(tmp_path / "toy.csv")), load_tokenizer(model), "encoder")["train"]
    longest = sorted(range(len(data)), key=lambda row: -data.lengths[row])
    monkeypatch.setattr("autopeft.training.run.batches", lambda *_: [longest[:8], longest[8:16], longest[16:]])
    worker = Worker(read_model(model, "classification", 2), probe_hardware(), head_seed=0)
    assert measure_speed(worker, Candidate(method="ia3", learning_rate=1e-3, batch_size=8), data) > 0


def test_trials_at_once_are_longer_and_more():
    """Four processes make a full trial twice as long, and twice as many of them fill the time."""
    alone, beside = (trial_size(data_of(9000, 1000, 50), 1000.0, 600.0, None, 1, 16, at_once=n).tokens for n in (1, 4))
    assert beside == pytest.approx(2 * alone, rel=0.1)


def test_tokens_that_a_user_gives_win():
    """A given budget is taken as it is, and the rows that are scored follow from it."""
    data = data_of(1000, 500, 20)
    size = trial_size(data, 1e9, 60.0, 8000, 1, 16)
    assert (size.tokens, size.pruning_rows, size.scoring_rows) == (8000, 50, 200)


def test_scoring_takes_a_small_part_of_a_long_trial():
    """Where there is time the readings and the score take less than a third of the training's seconds."""
    data = data_of(20000, 20000, 50)
    size = trial_size(data, 5000.0, 3600.0, None, 1, 16)
    assert evaluation_seconds(size, data["validation"], 5000.0) < size.tokens / 5000.0 / 3


@pytest.mark.parametrize(("steps", "read"), [(124, SHORT_READINGS), (126, READINGS)])
def test_a_long_trial_is_read_early(steps, read):
    """A trial is read at an eighth where fifteen steps lie before that, and else not before its half."""
    assert trial_size(data_of(100_000, 500, 20), 1e9, 60.0, steps * 8 * 20, 1, 8).readings == read


@pytest.mark.parametrize(("seconds", "folds"), [(90.0, 1), (399.0, 1), (401.0, 2), (499.0, 2), (501.0, 3), (1000.0, 6)])
def test_folds_that_nobody_asked_for_leave_every_training_its_length(seconds, folds):
    """1,000 tokens a second, three epochs of 10,000: as many folds as the time pays for, at least one."""
    data = data_of(1000, 500, 10)
    assert trial_size(data, 1000.0, seconds, None, 6, 16, all_parts=False).folds == folds
    assert trial_size(data, 1000.0, seconds, None, 6, 16).folds == 6
    assert trial_size(data, 1000.0, None, None, 6, 16, all_parts=False).folds == 6
