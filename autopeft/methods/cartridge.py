"""Cartridge: a prefix of keys and values that starts as what the model itself caches for training text."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft, _prompts
from autopeft.methods._declaration import Capabilities, Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FROZEN = 1
"""Tokens at the start that do not train: attention rests on the first, as the paper advises."""
LEGAL: dict[str, "BaseDistribution"] = {"virtual_tokens": IntDistribution(FROZEN + 1, 8192, log=True)}
CAPABILITIES = Capabilities(
    tasks=(*_prompts.SEQUENCE_TASKS, "generation", "instruction", "reasoning"), models=("decoder",),
    quantized_base=True, mergeable=False, identity_at_start=False, adds_latency=True, changes_base=False,
    takes_targets=False, takes_layers=False, gradient_checkpointing=False, uses_context=True,
)  # fmt: skip


def _width(setup: Setup) -> int:
    return setup.model.key_value_heads * setup.model.head_size


def _trainable(setup: Setup) -> int:
    """A key and a value per layer for each token that trains."""
    return (_injected.number(setup, "virtual_tokens") - FROZEN) * 2 * setup.model.layers * _width(setup)


def _config(setup: Setup) -> Any:
    from peft import CartridgeConfig

    model = setup.model
    sizes = _prompts.config(setup, width=_width(setup), layers=model.layers, heads=model.key_value_heads)
    return CartridgeConfig(num_frozen_tokens=FROZEN, **sizes)


def _prepare(attached: Any, setup: Setup, batches: Sequence[Mapping[str, Any]]) -> None:
    """Fills the prefix with the keys and values that the base caches for the batches' first tokens."""
    import torch
    from peft.tuners.cartridge.utils import initialize_kv_prefix_from_past_key_values

    tokens = _injected.number(setup, "virtual_tokens")
    base = attached.get_base_model()
    training = base.training
    base.eval()
    with torch.no_grad():
        cache = base(input_ids=_text(batches, tokens), use_cache=True).past_key_values
    base.train(training)
    initialize_kv_prefix_from_past_key_values(attached, past_key_values=cache, num_virtual_tokens=tokens)


def _text(batches: Sequence[Mapping[str, Any]], tokens: int) -> Any:
    """Returns one row of as many token ids as asked for: the batches' rows end to end, over again if short."""
    import torch

    rows = [ids[mask.bool()] for batch in batches for ids, mask in zip(*_ids(batch), strict=True)]
    text = torch.cat(rows)
    return text.repeat(-(-tokens // len(text)))[:tokens].unsqueeze(0)


def _ids(batch: Mapping[str, Any]) -> tuple[Any, Any]:
    return batch["input_ids"], batch["attention_mask"]


def _effective(attached: Any) -> dict[str, ParameterValue]:
    return {"virtual_tokens": int(attached.prompt_encoder[_peft.ADAPTER].weight.shape[0])}


METHOD = replace(
    _injected.declare(
        name="cartridge",
        title="Cartridge",
        family="soft-prompt",
        paper=Paper(
            title="Cartridges: Lightweight and general-purpose long context representations via self-study",
            year=2025, address="https://arxiv.org/abs/2506.06266",
        ),
        summary="Prefix tuning whose keys and values start as those of training text, not as noise.",
        capabilities=CAPABILITIES,
        legal=LEGAL,
        learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
        seeds=(
            Seed(
                parameters={"virtual_tokens": 50}, learning_rate=5e-3, targets="none",
                source="size, start and rate of peft method_comparison MetaMathQA,"
                " prefixtuning/llama-3.2-3B-tokens50-init_prefix-lr_0.005: 0.416 on GSM8K, against 0.358 from zero",
            ),
        ),
        trainable=_trainable,
        config=_config,
        effective=_effective,
        limits=_prompts.room_violations,
        memory_factor=0.0,
    ),
    prepare=_prepare,
    layers_alike=False,  # as prefix tuning
)  # fmt: skip
