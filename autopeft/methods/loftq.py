"""LoftQ: LoRA on a 4-bit base that starts by repairing what quantization lost.

Alternately the codes take what the factors leave of the weight, Q = q(W - B A), and the factors become the best
approximation of what the codes leave, B A = SVD_r(W - Q) (algorithm 1 of the paper); it begins with B A = 0. With one
iteration the codes stay as they were loaded.
"""

from functools import partial
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _codes, _lora, _repairs
from autopeft.methods._declaration import Paper, Seed

_violations = partial(_codes.violations, legal=_repairs.LEGAL)


def _start(layer: Any, weight: Any, iterations: int) -> None:
    _codes.nearest(layer, weight - _codes.dequantized(layer))
    for _ in range(iterations - 1):
        _codes.nearest(layer, weight - _codes.encode(layer, weight - _codes.product(layer)))


METHOD = _lora.declare(
    name="loftq",
    kind="initialization",
    title="LoftQ",
    paper=Paper(
        title="LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models",
        year=2023, address="https://arxiv.org/abs/2310.08659",
    ),
    summary="LoRA on a 4-bit base whose factors start as the best repair of what quantization lost.",
    capabilities=_codes.CAPABILITIES,
    legal=_repairs.LEGAL,
    learning_rate=FloatDistribution(1e-6, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 16, "alpha": 16, "dropout": 0.0, "iterations": 5}, learning_rate=3e-4,
            source="Li et al., arXiv 2310.08659: five alternations, ranks 16 and 32; alpha equal to the rank, and the"
            " rate, are a choice of this project",
        ),
    ),
    refused=_violations,
    attach=partial(_repairs.attach, start=_start),
    effective=_repairs.effective,
    save=_codes.save,
)  # fmt: skip
