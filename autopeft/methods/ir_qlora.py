"""IR-QLoRA: LoRA on 4-bit codes that keep as much information as they can.

Each block of weights is shifted by a constant τ before it is coded, chosen near the block's median so that the codes'
entropy is largest (information calibration quantization, section 3.2 of the paper); the constants stand frozen beside
the codes and are added back. The paper's second part, a connection without parameters around both factors, is left
out: it changes what LoRA computes, not where it starts.
"""

from functools import partial
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _codes, _lora, _peft, _shifts, _starts
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup

BLOCK = 64
"""Weights that share a scale, and so a constant: bitsandbytes' default, for models without values to ask."""

_violations = partial(_codes.violations, legal=_lora.LEGAL)


def _start(layer: Any, weight: Any) -> None:
    state = layer.get_base_layer().weight.quant_state
    shifts = _shifts.most_informative(weight, state.blocksize, state.code)
    _codes.encode(layer, weight - _shifts.spread(shifts, state.blocksize, tuple(weight.shape)))
    _shifts.add(layer.get_base_layer(), shifts, state.blocksize, tuple(weight.shape))


def _attach(model: Any, setup: Setup) -> Any:
    attached = _codes.attach(model, setup, start=_start)
    if _starts.without_values(attached):
        _place(attached)
    return attached


def _place(attached: Any) -> None:
    """Gives each quantized layer of a model of shapes alone the constants that it would have, for what they take."""
    import torch
    from bitsandbytes.nn import Linear4bit

    for _, layer in _starts.layers(attached):
        owner = layer.get_base_layer()
        if isinstance(owner, Linear4bit):
            shape = (owner.out_features, owner.in_features)
            shifts = torch.zeros(-(-shape[0] * shape[1] // BLOCK), device="meta")
            _shifts.add(owner, shifts, BLOCK, shape)


def _detach(attached: Any) -> Any:
    for _, layer in _starts.layers(attached):
        _shifts.remove(layer.get_base_layer())
    return _peft.detach(attached)


def _held(setup: Setup) -> int:
    """A constant of float32 for each block; where a module stays unquantized, as one of T5's does, it has none."""
    return 4 * sum(-(-module.in_features * module.out_features // BLOCK) for module in target_modules(setup))


METHOD = _lora.declare(
    name="ir_qlora",
    kind="initialization",
    title="IR-QLoRA",
    paper=Paper(
        title="Accurate LoRA-Finetuning Quantization of LLMs via Information Retention",
        year=2024, address="https://arxiv.org/abs/2402.05445",
    ),
    summary="LoRA on a 4-bit base whose blocks are shifted so that their codes keep the most information.",
    capabilities=_codes.CAPABILITIES,
    learning_rate=FloatDistribution(1e-6, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 64, "alpha": 16, "dropout": 0.1}, learning_rate=2e-4,
            source="Dettmers et al., QLoRA, arXiv 2305.14314: the recipe that Qin et al., arXiv 2402.05445, follow",
        ),
    ),
    refused=_violations,
    attach=_attach,
    detach=_detach,
    save=_codes.save,
    held=_held,
)  # fmt: skip
