"""Orthogonal start: LoRA with both factors away from zero, and yet a product of zero.

Of a random orthogonal matrix of size r, A is mixed from the odd rows and B from the even ones, so that B A = 0 and
both factors have a gradient at the first step, where LoRA's A has none.
"""

from dataclasses import replace
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _lora
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup

LEGAL = {**_lora.LEGAL, "rank": IntDistribution(2, 1024, step=2)}
CAPABILITIES = replace(_lora.CAPABILITIES, quantized_base=False)
"""peft gives the factors the stored weight's type, which codes do not have."""


def _config(setup: Setup) -> Any:
    return _lora.config(setup, init_lora_weights="orthogonal")


def _violations(setup: Setup) -> tuple[str, ...]:
    rank = setup.candidate.parameters.get("rank")
    odd = isinstance(rank, int) and rank % 2 == 1
    uneven = (f"`rank` is shared evenly between both factors and must be even; got {rank}.",) if odd else ()
    return (*uneven, *_lora.violations(setup, CAPABILITIES, LEGAL))


METHOD = _lora.declare(
    name="orthogonal_lora",
    kind="initialization",
    title="orthogonal start",
    paper=Paper(
        title="Rethinking LoRA initialisation", year=2024,
        address="https://datta0.github.io/posts/rethink-lora-init/#orthogonal-initialisation",
    ),
    summary="LoRA whose factors both start away from zero, with a product of zero: both learn from the first step.",
    capabilities=CAPABILITIES,
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 16, "alpha": 32, "dropout": 0.0}, learning_rate=2e-4,
            source="the default recipe of plain LoRA here; nothing is published but the start",
        ),
    ),
    refused=_violations,
    peft_config=_config,
)  # fmt: skip
