"""What is run where the surrogate is unsure is what its own covariance says would teach it most."""

from dataclasses import replace

import numpy as np

from autopeft.methods import all_methods
from autopeft.recommend._surrogate_features import Described
from autopeft.recommend.surrogate import covariance, design, load
from autopeft.values.predictions import Unit
from benchmarks._unsure import least_known

LOSS: Unit = "per cent of the loss"


def one(method="lora", *, rate=0.5, trainable=100_000):
    return Described(
        method=all_methods()[method], targets="attention", quantization="none", rate_position=rate, batch_size=16,
        trainable=trainable, parameters=20_000_000, layers=6, task="classification", labels=2, rows=1_000,
        tokens=10_000,
    )  # fmt: skip


def test_what_was_measured_most_teaches_least():
    """Of a method that the evidence holds by the dozen and one that it does not hold, the second is run."""
    fitted = load()
    fewer = replace(fitted, methods=tuple(name if name != "boft" else "unheard_of" for name in fitted.methods))
    assert least_known([one("lora"), one("boft")], 1, LOSS, fewer) == [1]


def test_what_a_run_has_taught_the_next_need_not():
    """Where runs hardly scatter, two candidates alike teach no more than one: the second to be run is another one."""
    exact = replace(load(), noise={LOSS: 0.01}, setting_variance=0.0, reference_variance=0.0)
    alike, other = one("boft"), one("lora")
    assert least_known([alike, alike, other], 3, LOSS, exact) == [0, 2, 1]


def test_the_variance_left_is_that_of_the_posterior():
    """What is chosen third, after two, is what a covariance updated by both, from scratch, says is known least."""
    fitted = load()
    candidates = [one(name, rate=rate) for name in ("lora", "boft", "ia3", "compacter") for rate in (0.5, 0.6)]
    first, second, third = least_known(candidates, 3, LOSS, fitted)
    inputs = np.array([design(candidate, fitted.methods) for candidate in candidates])
    own = fitted.setting_variance + fitted.reference_variance + fitted.noise[LOSS]
    seen = inputs[[first, second]]
    left = np.linalg.inv(np.linalg.inv(covariance(fitted)) + seen.T @ seen / own)
    variance = ((inputs @ left) * inputs).sum(axis=1)
    variance[[first, second]] = 0
    assert third == int(variance.argmax())


def test_no_more_than_there_are():
    """Few candidates are all run."""
    assert sorted(least_known([one("lora"), one("ia3")], 5, LOSS, load())) == [0, 1]
