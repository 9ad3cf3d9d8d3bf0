"""What the soft prompts share: the sizes peft needs, and where prompts cannot stand before the input."""

from typing import Any

from autopeft.methods import _peft
from autopeft.values.candidates import Setup
from autopeft.values.names import Task
from autopeft.values.profiles import ModelProfile

SEQUENCE_TASKS: tuple[Task, ...] = ("classification", "regression", "pair-classification")


def config(setup: Setup, *, width: int, layers: int, heads: int) -> dict[str, Any]:
    """Returns the arguments of every soft prompt's config, all sizes explicit.

    Left to itself peft reads them from the model's config, which misses some names (DistilBERT's) and assumes
    that heads fill the hidden size (T5's need not).
    """
    return {
        **_peft.head(setup), "num_virtual_tokens": setup.candidate.parameters["virtual_tokens"],
        "token_dim": width, "num_layers": layers, "num_attention_heads": heads,
    }  # fmt: skip


def input_config(setup: Setup) -> dict[str, Any]:
    """Returns `config` for prompts put before the input embeddings; in an encoder-decoder, before the encoder's."""
    model = setup.model
    sizes = config(setup, width=embedding_width(model), layers=model.layers, heads=model.attention_heads)
    # With peft's default of two submodules for an encoder-decoder half of the prompt would never be read.
    return {**sizes, "num_transformer_submodules": 1}


def embedding_width(model: ModelProfile) -> int:
    """Returns the width of the word embeddings, which ALBERT and ELECTRA have narrower than the hidden size."""
    for module in model.modules:
        if module.kind == "embedding" and module.in_features == model.vocabulary_size:
            return module.out_features
    return model.hidden_size


def room_violations(setup: Setup) -> tuple[str, ...]:
    """Returns why the prompt leaves no room for text."""
    tokens, room = setup.candidate.parameters.get("virtual_tokens"), setup.model.max_positions
    if isinstance(tokens, int) and room is not None and tokens >= room:
        return (f"`virtual_tokens` is {tokens}, but the model has {room} positions for prompt and text together.",)
    return ()


def input_violations(setup: Setup) -> tuple[str, ...]:
    """Returns why a prompt before the input embeddings cannot work for this model and task."""
    found = room_violations(setup)
    if setup.task in SEQUENCE_TASKS and setup.model.kind == "seq2seq":
        found = (*found, f"The {setup.task} head of {setup.model.model_type} takes token ids, and a prompt has none.")
    if setup.task in SEQUENCE_TASKS and setup.model.kind == "decoder":
        because = (
            f"The {setup.task} head of a decoder finds the last token by its id; behind a prompt it has only"
            " embeddings, and would read padding."
        )
        found = (*found, because)
    return found


def decoder_layers(model: ModelProfile) -> int:
    """Returns how many layers take cached keys and values: all but an encoder-decoder's encoder's."""
    if model.kind != "seq2seq":
        return model.layers
    layers = {m.layer for m in model.modules if m.layer is not None and "decoder" in m.name.split(".")}
    return len(layers)
