"""LQ-LoRA: a weight as codes plus a low-rank part, the low-rank part first.

From Q = 0 on, alternately B A = SVD_r(W - Q) and Q = q(W - B A), until the error ‖W - Q - B A‖ grows (algorithm 1 of
the paper): the factors take the large singular values before anything is rounded. Left out of the paper: bits chosen
per matrix by an integer program, since a bitsandbytes base has one scheme, and the Fisher-weighted error.
"""

from functools import partial
from math import inf
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _codes, _lora, _peft, _repairs, _starts
from autopeft.methods._declaration import Paper, Seed

_violations = partial(_codes.violations, legal=_repairs.LEGAL)


def _start(layer: Any, weight: Any, iterations: int) -> None:
    rest, best = weight, inf
    for _ in range(iterations):
        before = _factors(layer)
        _codes.nearest(layer, rest)
        coded = _codes.encode(layer, weight - _codes.product(layer))
        error = float((weight - coded - _codes.product(layer)).norm())
        if error >= best:
            _starts.put(layer, before)
            _codes.encode(layer, weight - _codes.product(layer))
            return
        rest, best = weight - coded, error


def _factors(layer: Any) -> _starts.Factors:
    a, b = (getattr(layer, key)[_peft.ADAPTER].weight.detach().clone() for key in ("lora_A", "lora_B"))
    return a, b


METHOD = _lora.declare(
    name="lq_lora",
    kind="initialization",
    title="LQ-LoRA",
    paper=Paper(
        title="LQ-LoRA: Low-rank Plus Quantized Matrix Decomposition for Efficient Language Model Finetuning",
        year=2023, address="https://arxiv.org/abs/2311.12023",
    ),
    summary="LoRA on a 4-bit base: the factors take the large singular values, the codes what is left.",
    capabilities=_codes.CAPABILITIES,
    legal=_repairs.LEGAL,
    learning_rate=FloatDistribution(1e-6, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 64, "alpha": 64, "dropout": 0.0, "iterations": 5}, learning_rate=2e-4,
            source="Guo et al., arXiv 2311.12023: rank 64; alpha equal to the rank, the rate and the limit on"
            " alternations are a choice of this project",
        ),
    ),
    refused=_violations,
    attach=partial(_repairs.attach, start=_start),
    effective=_repairs.effective,
    save=_codes.save,
)  # fmt: skip
