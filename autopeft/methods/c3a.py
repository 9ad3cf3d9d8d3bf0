"""C3A: an update made of circulant blocks, applied by fast Fourier transforms."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {"block_size": IntDistribution(1, 8192, log=True)}


def _trainable(setup: Setup) -> int:
    """One value per entry of the weight, divided by the block size: a circulant block is its first row."""
    size = _injected.number(setup, "block_size")
    return _injected.total(setup, lambda module: module.in_features * module.out_features // size)


def _limits(setup: Setup) -> tuple[str, ...]:
    divided = _injected.division_limits(setup, "block_size", inputs=True, outputs=True)
    return (*_injected.plain_limits(setup), *divided)


def _config(setup: Setup) -> Any:
    """The kernels start at zero, not at random as is peft's default, so that the output is unchanged at the start."""
    from peft import C3AConfig

    return C3AConfig(block_size=setup.candidate.parameters["block_size"], init_weights=True, **_peft.injected(setup))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.c3a import C3ALayer

    return _injected.read(attached, C3ALayer, block_size=lambda layer: int(layer.c3a_kernel[_peft.ADAPTER].shape[-1]))


METHOD = _injected.declare(
    name="c3a",
    title="C3A",
    family="spectral",
    paper=Paper(
        title="Parameter-Efficient Fine-Tuning via Circular Convolution",
        year=2024, address="https://arxiv.org/abs/2407.19342",
    ),
    summary="Adds circulant blocks: a high-rank update from few parameters, at the highest rates of all methods.",
    # peft adds to the base's output in place, which bitsandbytes' layers with a bias do not allow.
    capabilities=_injected.capable(),
    legal=LEGAL,
    # peft divides the update by the input width, so rates are thousands of times LoRA's.
    learning_rate=FloatDistribution(1e-3, 10.0, log=True),
    seeds=(
        Seed(
            parameters={"block_size": 64}, learning_rate=0.3, targets="qv",
            source="peft method_comparison MetaMathQA, c3a/llama-3.2-3B-default: 0.487 on GSM8K with 0.6 of the"
            " parameters of LoRA, which has 0.478",
        ),
        Seed(
            parameters={"block_size": 64}, learning_rate=0.1,
            source="peft's documentation: 1e-1 is a good rate to start from; here on all linear layers",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
)  # fmt: skip
