"""LLaMA-Adapter: trained tokens that the last layers' attention looks at through a gate that starts shut."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Capabilities, Paper, Seed
from autopeft.methods._targets import selected_layers
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {"virtual_tokens": IntDistribution(1, 1024, log=True)}
CAPABILITIES = Capabilities(
    tasks=("generation", "instruction", "reasoning"), models=("decoder",), quantized_base=True, mergeable=False,
    identity_at_start=True, adds_latency=True, changes_base=False, takes_targets=False, takes_layers=True,
)  # fmt: skip
MODELS = ("gpt2", "llama", "mistral")
"""Architectures whose attention peft knows how to extend."""


def _trainable(setup: Setup) -> int:
    """The tokens' embeddings and a gate in each selected layer."""
    each = _injected.number(setup, "virtual_tokens") * setup.model.hidden_size + 1
    return each * len(selected_layers(setup.model, setup.candidate))


def _limits(setup: Setup) -> tuple[str, ...]:
    model, layers = setup.model, selected_layers(setup.model, setup.candidate)
    if model.model_type not in MODELS:
        return (f"The method knows the attention of {', '.join(MODELS)} alone; the model is a {model.model_type}.",)
    if layers != tuple(range(model.layers - len(layers), model.layers)):
        return (
            f"`layers` must be all or last:K, since the method takes the last ones; got {setup.candidate.layers!r}.",
        )
    if model.hidden_size != model.attention_heads * model.head_size:
        return ("The model's attention heads do not fill its hidden size, which the method takes for granted.",)
    return ()


def _config(setup: Setup) -> Any:
    from peft import AdaptionPromptConfig

    layers = selected_layers(setup.model, setup.candidate)
    return AdaptionPromptConfig(
        adapter_len=setup.candidate.parameters["virtual_tokens"], adapter_layers=len(layers),
        task_type=_peft.task_type(setup),
    )  # fmt: skip


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.adaption_prompt.layer import AdaptedAttention, AdaptedAttentionGPT

    found = [m for kind in (AdaptedAttention, AdaptedAttentionGPT) for m in _of(attached, kind)]
    return {"virtual_tokens": _peft.shared("virtual_tokens", [int(m.adaption_prompt.shape[1]) for m in found])}


def _of(attached: Any, kind: type) -> list[Any]:
    return [module for module in attached.modules() if isinstance(module, kind)]


def _detach(attached: Any) -> Any:
    # Puts the original attention back where the extended one stood.
    attached.base_model.disable_adapter_layers()
    return _peft.detach(attached)


METHOD = replace(
    _injected.declare(
        name="adaption_prompt",
        title="LLaMA-Adapter",
        family="soft-prompt",
        paper=Paper(
            title="LLaMA-Adapter: Efficient Fine-tuning of Language Models with Zero-init Attention",
            year=2023, address="https://arxiv.org/abs/2303.16199",
        ),
        summary="Trains tokens that attention sees beside the text, gated from zero; takes no room from the context.",
        capabilities=CAPABILITIES,
        legal=LEGAL,
        learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
        seeds=(
            Seed(
                parameters={"virtual_tokens": 100}, learning_rate=5e-3, targets="none",
                source="peft method_comparison MetaMathQA, adaptionprompt/llama-3.2-3B-lr_5e-3: 0.384 on GSM8K,"
                " against 0.212 at 5e-4",
            ),
            Seed(
                parameters={"virtual_tokens": 10}, learning_rate=9e-3, targets="none",
                source="Zhang et al., arXiv 2303.16199: 10 tokens, 9e-3",
            ),
        ),
        trainable=_trainable,
        config=_config,
        effective=_effective,
        limits=_limits,
    ),
    detach=_detach,
)  # fmt: skip
