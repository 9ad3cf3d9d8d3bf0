"""Trainable tokens: the embeddings of a few tokens train, and nothing else."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft, _prompts
from autopeft.methods._declaration import Capabilities, Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "first": IntDistribution(0, 10_000_000),
    "count": IntDistribution(1, 100_000, log=True),
}
CAPABILITIES = Capabilities(
    tasks=("generation", "instruction", "reasoning"), models=("decoder",), quantized_base=True, mergeable=True,
    identity_at_start=True, adds_latency=False, changes_base=False, takes_targets=False, takes_layers=False,
)  # fmt: skip


def _trainable(setup: Setup) -> int:
    """One embedding per token; an output embedding tied to them moves along."""
    return _injected.number(setup, "count") * _prompts.embedding_width(setup.model)


def _limits(setup: Setup) -> tuple[str, ...]:
    first, count = _injected.number(setup, "first"), _injected.number(setup, "count")
    last, size = first + count - 1, setup.model.vocabulary_size
    if last < size:
        return ()
    return (f"`first` and `count` reach to token {last}, but the model's vocabulary ends at {size - 1}.",)


def _config(setup: Setup) -> Any:
    from peft import TrainableTokensConfig

    first = _injected.number(setup, "first")
    tokens = list(range(first, first + _injected.number(setup, "count")))
    return TrainableTokensConfig(token_indices=tokens, task_type=_peft.task_type(setup))


def _held(setup: Setup) -> int:
    """What the trained embeddings were, float32."""
    return 4 * _trainable(setup)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    name = _peft.ADAPTER
    return _injected.read(
        attached, TrainableTokensLayer, first=lambda layer: int(layer.token_indices[name][0]),
        count=lambda layer: int(layer.trainable_tokens_delta[name].shape[0]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="trainable_tokens",
    title="Trainable tokens",
    family="selective",
    paper=Paper(
        title="Trainable tokens of the peft library", year=2025,
        address="https://huggingface.co/docs/peft/package_reference/trainable_tokens",
    ),
    summary="Trains the embeddings of a few tokens, such as those that open and close a text; very high rates.",
    capabilities=CAPABILITIES,
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-3, 1.0, log=True),
    seeds=(
        Seed(
            parameters={"first": 128000, "count": 2}, learning_rate=0.2, targets="none",
            source="peft method_comparison MetaMathQA, trainable_tokens/llama-3.2-3B-sos+eos: 0.246 on GSM8K",
        ),
        Seed(
            parameters={"first": 0, "count": 4}, learning_rate=5e-2, targets="none",
            source="the special tokens of vocabularies that begin with them; not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    held=_held,
    limits=_limits,
    memory_factor=0.0,
)  # fmt: skip
