"""MiSS: one small matrix per weight, shared by its shards; formerly Bone."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

INITS: dict[str, bool | str] = {"shared": True, "block_affine": "bat", "mini": "mini"}
LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "variant": CategoricalDistribution(tuple(INITS)),
}


def _trainable(setup: Setup) -> int:
    """Rank × output width; rank × rank for ``mini``, whose block is repeated along the output too."""
    rank, mini = _injected.number(setup, "rank"), setup.candidate.parameters["variant"] == "mini"
    return _injected.total(setup, lambda module: rank * (rank if mini else module.out_features))


def _limits(setup: Setup) -> tuple[str, ...]:
    """Shards of ``shared`` may end early; the other variants need widths that the rank divides."""
    rank, variant = _injected.number(setup, "rank"), setup.candidate.parameters["variant"]
    divided = _injected.division_limits(setup, "rank", inputs=variant == "block_affine", outputs=variant != "shared")

    def too_large(module: ModuleShape) -> str:
        if rank <= module.in_features:
            return ""
        return f"`rank` is {rank}, above the input width {module.in_features} of {module.name}."

    return (*_injected.plain_limits(setup), *divided, *_injected.first(setup, too_large))


def _config(setup: Setup) -> Any:
    from peft import MissConfig

    given = setup.candidate.parameters
    init = INITS[str(given["variant"])]
    # peft reads `mini_r` for its "mini" variant alone.
    return MissConfig(r=given["rank"], mini_r=given["rank"], init_weights=init, **_peft.injected(setup))


def _rank(layer: Any) -> int:
    block = layer.miss_block[_peft.ADAPTER]
    return int(block.shape[-1] if layer.miss_fn == "bat" else block.shape[0])


def _variant(layer: Any) -> str:
    return next(name for name, init in INITS.items() if init == layer.miss_fn)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.miss import MissLayer

    return _injected.read(attached, MissLayer, rank=_rank, variant=_variant)


METHOD = _injected.declare(
    name="miss",
    title="MiSS",
    family="low-rank",
    paper=Paper(
        title="MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure",
        year=2024, address="https://arxiv.org/abs/2409.15371",
    ),
    summary="Trains one small matrix per weight that all shards of its input share: faster than LoRA at equal quality.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 64, "variant": "shared"}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, miss/llama-3.2-3B-default: 0.487 on GSM8K,"
            " against LoRA's 0.478, in 9 % less memory",
        ),
        Seed(
            parameters={"rank": 64, "variant": "block_affine"}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, miss/llama-3.2-3B-bat: 0.504 on GSM8K, at 0.65 of LoRA's speed",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
)  # fmt: skip
