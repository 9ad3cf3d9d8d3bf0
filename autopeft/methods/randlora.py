"""RandLoRA: full-rank updates from learned mixtures of frozen random low-rank bases."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# The larger the rank, the fewer bases, and the fewer parameters.
LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "alpha": IntDistribution(1, 16384, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
}


def _trainable(setup: Setup) -> int:
    """As many bases as fill the smaller width, each with one weight per rank and one per smaller width."""
    rank = _injected.number(setup, "rank")

    def mixtures(module: ModuleShape) -> int:
        smaller = min(module.in_features, module.out_features)
        return -(-smaller // rank) * (rank + smaller)

    return _injected.total(setup, mixtures)


def _held(setup: Setup) -> int:
    """The shared bases, as many as the smaller width takes, and what mixes them, float32."""
    rank, widths = _injected.number(setup, "rank"), _injected.widest(setup)
    return 4 * rank * (min(widths) + max(widths) * -(-min(widths) // rank))


def _config(setup: Setup) -> Any:
    from peft import RandLoraConfig

    given = setup.candidate.parameters
    return RandLoraConfig(
        r=given["rank"], randlora_alpha=given["alpha"], randlora_dropout=given["dropout"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _rank(layer: Any) -> int:
    return int(layer.randlora_lambda[_peft.ADAPTER].shape[0])


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.randlora import RandLoraLayer

    return _injected.read(
        attached, RandLoraLayer, rank=_rank,
        alpha=lambda layer: round(float(layer.scaling[_peft.ADAPTER] * _rank(layer)), 6),
        dropout=lambda layer: _peft.dropout_of(layer.randlora_dropout[_peft.ADAPTER]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="randlora",
    title="RandLoRA",
    family="low-rank",
    paper=Paper(
        title="RandLoRA: Full-rank parameter-efficient fine-tuning of large models",
        year=2025, address="https://arxiv.org/abs/2502.00987",
    ),
    summary="Learns how to mix frozen random bases into a full-rank update; the larger the rank, the fewer parameters.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 32, "alpha": 640, "dropout": 0.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, randlora/llama-3.2-3B-default: 0.478 on GSM8K",
        ),
        Seed(
            parameters={"rank": 32, "alpha": 640, "dropout": 0.0}, learning_rate=1e-3,
            source="Albert et al., arXiv 2502.00987: alpha twenty times the rank; the rate raised for short runs",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_injected.rank_limits,
    held=_held,
    memory_factor=2.0,
)  # fmt: skip
