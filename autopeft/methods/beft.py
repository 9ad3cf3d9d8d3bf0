"""BEFT: a trained bias on the outputs of the targeted weights, whether they had one or not."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue


def _trainable(setup: Setup) -> int:
    """One value per output."""
    return _injected.total(setup, lambda module: module.out_features)


def _config(setup: Setup) -> Any:
    from peft import BeftConfig

    return BeftConfig(**_peft.injected(setup))


@contextmanager
def _quietly() -> Iterator[None]:
    # Said of every layer without a bias; here merging is not offered at all.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected that the base layer has no bias", category=UserWarning)
        yield


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.beft.layer import BeftLayer

    return _injected.read(attached, BeftLayer)


METHOD = _injected.declare(
    name="beft",
    title="BEFT",
    family="selective",
    paper=Paper(
        title="BEFT: Bias-Efficient Fine-Tuning of Language Models in Low-Data Regimes",
        year=2025, address="https://arxiv.org/abs/2509.15974",
    ),
    summary="Adds a trained bias to the targeted outputs: for few data, also in models that have no biases.",
    # A bias has no place to be merged into where the layer has none.
    capabilities=_injected.capable(quantized_base=True, mergeable=False),
    legal={},
    learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
    seeds=(
        Seed(
            parameters={}, learning_rate=8e-3, targets="qv",
            source="rate of peft's example on mt0-small's values with 500 rows; at 1e-4 its measured run learns little"
            " (beft/llama-3.2-3B-target-v_proj: 0.321 on GSM8K)",
        ),
        Seed(
            parameters={}, learning_rate=3e-3,
            source="the same on all linear layers; the rate is set here and not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_injected.plain_limits,
    during=_quietly,
    memory_factor=0.0,
)  # fmt: skip
