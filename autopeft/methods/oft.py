"""OFT: rotates the input of each weight by a block-diagonal orthogonal matrix."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# A block of one has no angle to turn.
LEGAL: dict[str, "BaseDistribution"] = {"block_size": IntDistribution(2, 1024, log=True)}


def _trainable(setup: Setup) -> int:
    """One angle per pair of inputs in the same block."""
    size = _injected.number(setup, "block_size")

    def angles(module: ModuleShape) -> int:
        return module.in_features // size * (size * (size - 1) // 2)

    return _injected.total(setup, angles)


def _limits(setup: Setup) -> tuple[str, ...]:
    """The block size divides the inputs; peft would take the nearest that does, with a warning."""
    divided = _injected.division_limits(setup, "block_size", inputs=True, outputs=False)
    return (*_injected.plain_limits(setup), *divided)


def _config(setup: Setup) -> Any:
    from peft import OFTConfig

    return OFTConfig(r=0, oft_block_size=setup.candidate.parameters["block_size"], **_peft.injected(setup))


def _held(setup: Setup) -> int:
    """The two places of each angle of a block in each layer, whole numbers of eight bytes."""
    size = _injected.number(setup, "block_size")
    return _injected.total(setup, lambda _module: 16 * (size * (size - 1) // 2))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.oft.layer import OFTLayer

    return _injected.read(attached, OFTLayer, block_size=lambda layer: int(layer.oft_R[_peft.ADAPTER].block_size))


METHOD = _injected.declare(
    name="oft",
    title="OFT",
    family="orthogonal",
    paper=Paper(
        title="Orthogonal Finetuning Made Scalable (OFTv2; first: Controlling Text-to-Image Diffusion by Orthogonal"
        " Finetuning, arXiv 2306.07280)",
        year=2025, address="https://arxiv.org/abs/2506.19847",
    ),
    summary="Rotates the inputs of the targeted weights block by block, which keeps the angles between neurons.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"block_size": 96}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, oft/llama-3.2-3B-rank32: 0.491 on GSM8K;"
            " 32 blocks of 96 in its 3,072 inputs",
        ),
        Seed(
            parameters={"block_size": 32}, learning_rate=4e-4,
            source="block size of Qiu et al., arXiv 2506.19847; the rate, four times the row above, is not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
    limits=_limits,
    memory_factor=2.0,
)  # fmt: skip
