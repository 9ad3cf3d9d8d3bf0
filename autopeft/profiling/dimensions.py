"""The sizes that a model is known by, read from its config and, where configs disagree on names, its modules."""

from collections.abc import Sequence
from typing import Any

from autopeft.errors import ModelError
from autopeft.values.profiles import ModuleShape

# A model of experts alone has no down-projection of its own, so theirs comes first.
_FEED_FORWARD = (
    "moe_intermediate_size",
    "intermediate_size",
    "d_ff",
    "encoder_ffn_dim",
    "ffn_dim",
    "n_inner",
    "hidden_dim",
    "ffn_hidden_size",
)
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads")


def sizes(config: Any, model: Any, modules: Sequence[ModuleShape]) -> dict[str, Any]:
    """Returns the size fields of a model profile by name.

    Raises:
        ModelError: the model has no attention.
    """
    text = _text_config(config)
    hidden = int(text.hidden_size)
    heads = _first(text, ("num_attention_heads",))
    if heads is None:
        raise ModelError(
            f"A model of type {config.model_type!r} has no attention heads; autopeft is for transformers.\n"
            "Choose a model with attention."
        )
    return {
        "layers": 1 + max((module.layer for module in modules if module.layer is not None), default=-1),
        "hidden_size": hidden,
        "feed_forward_size": _feed_forward(text, modules, hidden),
        "attention_heads": heads,
        "key_value_heads": _key_value_heads(text, heads),
        "head_size": int(_first(text, ("head_dim", "d_kv")) or hidden // heads),
        "vocabulary_size": int(text.vocab_size),
        "tied_embeddings": _tied(text, model),
        "max_positions": _max_positions(text, model),
    }


def _text_config(config: Any) -> Any:
    """Returns the part of a config that describes the language model; the decoder's where there are two."""
    return getattr(config, "decoder", None) or getattr(config, "text_config", None) or config


def _first(config: Any, names: Sequence[str]) -> Any:
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)


def _feed_forward(config: Any, modules: Sequence[ModuleShape], hidden: int) -> int:
    downs = [module.in_features for module in modules if module.role == "down"]
    return downs[0] if downs else int(_first(config, _FEED_FORWARD) or 4 * hidden)


def _key_value_heads(config: Any, heads: int) -> int:
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        return 1
    return int(_first(config, _KEY_VALUE_HEADS) or heads)


def _tied(config: Any, model: Any) -> bool:
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    if outputs is not None and inputs is not None:
        return bool(outputs.weight is inputs.weight)
    return bool(getattr(config, "tie_word_embeddings", False))


def _max_positions(config: Any, model: Any) -> int | None:
    limit = _first(config, ("max_position_embeddings", "n_positions"))
    if limit is None or limit <= 0 or config.model_type in ("t5", "mt5", "umt5"):
        return None  # T5's positions are relative: the number in old configs is where training stopped
    return int(limit) - _reserved_positions(model)


def _reserved_positions(model: Any) -> int:
    """Returns how many learned positions lie before the first token's: RoBERTa counts from its padding id on."""
    for name, module in model.named_modules():
        if name.endswith("embeddings.position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0
