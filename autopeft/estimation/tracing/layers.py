"""What a layer consists of, as values that can be compared: pure Python."""

from collections.abc import Sequence
from typing import Any

from autopeft.profiling.source import find_model
from autopeft.values.candidates import Setup
from autopeft.values.profiles import ModuleShape


def layer_shapes(modules: Sequence[ModuleShape], layer: int) -> tuple[Any, ...]:
    """Returns what one layer consists of, whatever its index."""
    return tuple(
        (_local(m.name, layer), m.kind, m.in_features, m.out_features, m.bias, m.parameters)
        for m in modules
        if m.layer == layer
    )


def _local(name: str, layer: int) -> str:
    parts = name.split(".")
    number = number_place(parts)
    return f"{name}@{layer}" if number is None else ".".join([*parts[:number], *parts[number + 1 :]])


def number_place(parts: Sequence[str]) -> int | None:
    """Returns where a dotted name has its layer's number."""
    return next((place for place, part in enumerate(parts) if part.isdecimal()), None)


def layer_kinds(setup: Setup) -> list[Any]:
    """Returns what the config says of each layer: attention that is local in some and global in others, experts.

    Configs say it by a list with an entry per layer, or by a rule in numbers that only the architecture's code
    knows; then transformers' config object has the list, and it is asked.
    """
    depth = setup.model.layers
    content = dict(find_model(setup.model.source).config or {})
    content = {**content, **(content.get("text_config") or {})}
    if not _LISTS & content.keys() and _RULES & content.keys():
        from autopeft.profiling.config import load_config

        config = load_config(find_model(setup.model.source))
        content = vars(getattr(config, "text_config", None) or config)
    lists = [value for value in content.values() if isinstance(value, list | tuple) and len(value) == depth]
    return [tuple(str(value[index]) for value in lists) for index in range(depth)]


_LISTS = frozenset({"layer_types"})
_RULES = frozenset(
    {
        "sliding_window", "sliding_window_pattern", "global_attn_every_n_layers", "local_attention",
        "use_sliding_window", "max_window_layers", "no_rope_layer_interval", "attention_chunk_size",
    }
)  # fmt: skip
