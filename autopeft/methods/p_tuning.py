"""P-tuning: virtual tokens before the input, produced by a small network that trains with them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.errors import ModelError
from autopeft.methods import _peft, _prompts
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.values.candidates import Setup
from autopeft.values.names import LANGUAGE_TASKS, ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "virtual_tokens": IntDistribution(1, 1024, log=True),
    "encoder": CategoricalDistribution(("MLP", "LSTM")),
    "encoder_hidden": IntDistribution(8, 8192, log=True),
}
CAPABILITIES = Capabilities(
    tasks=(*_prompts.SEQUENCE_TASKS, *LANGUAGE_TASKS), models=_peft.ALL_KINDS, quantized_base=True,
    mergeable=False, identity_at_start=False, adds_latency=True, changes_base=False, takes_targets=False,
    takes_layers=False, uses_context=True,
)  # fmt: skip
ENCODER_FILE = "prompt_encoder.safetensors"
"""The network beside peft's own file, which holds only the prompt that comes out of it."""


def _trainable(setup: Setup) -> int:
    """The tokens' embeddings, and the network: three linear layers, or two LSTM layers both ways and two linear."""
    given, width = setup.candidate.parameters, _prompts.embedding_width(setup.model)
    tokens, hidden = int(given["virtual_tokens"]), int(given["encoder_hidden"])
    if given["encoder"] == "MLP":
        return tokens * width + _linear(width, hidden) + _linear(hidden, hidden) + _linear(hidden, width)
    lstm = sum(2 * 4 * hidden * (entering + hidden + 2) for entering in (width, 2 * hidden))
    return tokens * width + lstm + _linear(2 * hidden, 2 * hidden) + _linear(2 * hidden, width)


def _linear(entering: int, leaving: int) -> int:
    return (entering + 1) * leaving


def _violations(setup: Setup) -> tuple[str, ...]:
    return (*declared_violations(setup, CAPABILITIES, LEGAL), *_prompts.input_violations(setup))


def _config(setup: Setup) -> Any:
    from peft import PromptEncoderConfig

    given = setup.candidate.parameters
    return PromptEncoderConfig(
        encoder_reparameterization_type=given["encoder"], encoder_hidden_size=given["encoder_hidden"],
        **_prompts.input_config(setup),
    )  # fmt: skip


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _peft.attach(model, _config(setup))


def _encoder(attached: Any) -> Any:
    return attached.prompt_encoder[_peft.ADAPTER]


def _effective(attached: Any) -> dict[str, ParameterValue]:
    encoder = _encoder(attached)
    lstm = getattr(encoder, "lstm_head", None)
    return {
        "virtual_tokens": int(encoder.embedding.weight.shape[0]),
        "encoder": "MLP" if lstm is None else "LSTM",
        "encoder_hidden": int(encoder.mlp_head[0].out_features if lstm is None else lstm.hidden_size),
    }


def _save(attached: Any, folder: Path) -> None:
    from safetensors.torch import save_file

    _peft.save(attached, folder)
    save_file({k: v.contiguous() for k, v in _encoder(attached).state_dict().items()}, folder / ENCODER_FILE)


def _load(model: Any, setup: Setup, folder: Path) -> Any:
    from safetensors.torch import load_file

    attached = _peft.load_into(_apply(model, setup), folder)
    path = folder / ENCODER_FILE
    if not path.is_file():
        raise ModelError(f"{path} does not exist: without it the prompt cannot be trained on.")
    _encoder(attached).load_state_dict(load_file(path))
    return attached


METHOD = Method(
    name="p_tuning",
    title="P-tuning",
    family="soft-prompt",
    paper=Paper(title="GPT Understands, Too", year=2021, address="https://arxiv.org/abs/2103.10385"),
    summary="Learns virtual tokens through a small MLP or LSTM: steadier than plain prompt tuning.",
    capabilities=CAPABILITIES,
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"virtual_tokens": 20, "encoder": "MLP", "encoder_hidden": 512}, learning_rate=1e-3,
            targets="none",
            source="tokens and encoder of peft method_comparison MetaMathQA, ptuning/llama-3.2-3B-default:"
            " 0.350 on GSM8K at 1e-4; width smaller for smaller models",
        ),
    ),
    trainable=_trainable,
    violations=_violations,
    apply=_apply,
    peft_config=_config,
    effective=_effective,
    detach=_peft.detach,
    merge=None,
    save=_save,
    load=_load,
    memory_factor=0.0,
)  # fmt: skip
