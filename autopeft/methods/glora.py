"""GLoRA: scales and shifts each weight by low-rank products, and each bias too."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "bias": CategoricalDistribution(("none", "constant", "vector")),
}
_OF_PATH = {"GloraEmptyPath": "none", "GloraScalarPath": "constant", "GloraVectorPath": "vector"}


def _trainable(setup: Setup) -> int:
    """Two pairs of LoRA's factors; where there is a bias, a prompt in the inputs and the bias's own two terms."""
    rank, bias = _injected.number(setup, "rank"), setup.candidate.parameters["bias"]

    def terms(module: ModuleShape) -> int:
        weights = 2 * rank * (module.in_features + module.out_features)
        each = {"none": 0, "constant": 1, "vector": module.out_features}[str(bias)]
        return weights + (rank * (module.in_features + 1) + 2 * each if module.bias else 0)

    return _injected.total(setup, terms)


def _limits(setup: Setup) -> tuple[str, ...]:
    return (*_injected.plain_limits(setup), *_injected.rank_limits(setup), *_without_bias(setup))


def _without_bias(setup: Setup) -> tuple[str, ...]:
    bias = setup.candidate.parameters["bias"]
    if bias == "none" or any(module.bias for module in target_modules(setup)):
        return ()
    return (f"`bias` is {bias!r}, but no targeted module has a bias: it must be 'none'.",)


def _config(setup: Setup) -> Any:
    from peft import GloraConfig

    given = setup.candidate.parameters
    return GloraConfig(r=given["rank"], config_D_E=given["bias"], **_peft.injected(setup))


def _held(setup: Setup) -> int:
    """Zeros of float32 where a path adds nothing: a prompt in inputs without a bias, and a bias's own two terms."""
    plain = setup.candidate.parameters["bias"] == "none"

    def zeros(module: ModuleShape) -> int:
        ends = 2 * module.out_features if plain or not module.bias else 0
        return 4 * (ends + (0 if module.bias else module.in_features))

    return _injected.total(setup, zeros)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    """Reads `bias` off the layers that have one; peft leaves the others' out."""
    from peft.tuners.glora.layer import GloraLayer

    layers = _peft.layers(attached, GloraLayer)
    paths = [type(x.glora_D[_peft.ADAPTER]).__name__ for x in layers if x.get_base_layer().bias is not None]
    return {
        "rank": _peft.shared("rank", [int(layer.glora_A[_peft.ADAPTER].Xu.shape[0]) for layer in layers]),
        "bias": _peft.shared("bias", [_OF_PATH[path] for path in paths] or ["none"]),
    }


METHOD = _injected.declare(
    name="glora",
    title="GLoRA",
    family="low-rank",
    paper=Paper(
        title="One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning",
        year=2023, address="https://arxiv.org/abs/2306.07967",
    ),
    summary="Scales and shifts weights and biases at once: more freedom than LoRA, at twice its parameters and memory.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "bias": "none"}, learning_rate=5e-4,
            source="rank of peft method_comparison MetaMathQA, glora/llama-3.2-3B-default: 0.418 on GSM8K at 1e-4;"
            " its small sibling runs at 5e-4",
        ),
        Seed(
            parameters={"rank": 8, "bias": "none"}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, glora/llama-3.2-3B-default: 0.418 on GSM8K",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
    limits=_limits,
    memory_factor=3.0,
)  # fmt: skip
