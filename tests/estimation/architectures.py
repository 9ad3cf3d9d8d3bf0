"""Small models of many architectures, deep enough that their layers repeat; all widths different."""

from functools import cache
from typing import Any

from autopeft.values.profiles import Device

GPU = Device(
    index=0, name="A card", kind="cuda", total_memory_bytes=1 << 34, free_memory_bytes=1 << 34, compute_capability="8.0"
)
CPU = Device(index=0, name="A processor", kind="cpu", total_memory_bytes=1 << 34, free_memory_bytes=1 << 34)

_COMMON = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "vocab_size": 300}
_GROUPED = {**_COMMON, "num_key_value_heads": 2}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

ARCHITECTURES: dict[str, Any] = {
    "llama": ("LlamaConfig", "generation", {**_GROUPED, "num_hidden_layers": 9}),
    "qwen3": ("Qwen3Config", "generation", {**_GROUPED, "num_hidden_layers": 8, "head_dim": 32}),
    "mistral": ("MistralConfig", "generation", {**_GROUPED, "num_hidden_layers": 8, "sliding_window": 16}),
    "gemma2": ("Gemma2Config", "generation", {**_GROUPED, "num_hidden_layers": 12, "head_dim": 16}),
    "phi3": ("Phi3Config", "generation", {**_GROUPED, **_TOKENS, "num_hidden_layers": 8}),
    "gpt2": ("GPT2Config", "generation", {"n_embd": 64, "n_layer": 8, "n_head": 4, "vocab_size": 300, **_TOKENS}),
    "mixtral": ("MixtralConfig", "generation", {**_GROUPED, "num_hidden_layers": 8, "num_local_experts": 4}),
    "bert": ("BertConfig", "classification", {**_COMMON, "num_hidden_layers": 8}),
    "modernbert": (
        "ModernBertConfig", "classification",
        {**_COMMON, **_TOKENS, "num_hidden_layers": 19, "local_attention": 16},
    ),
    "t5": (
        "T5Config", "seq2seq",
        {
            "d_model": 64, "d_kv": 10, "d_ff": 160, "num_layers": 8, "num_decoder_layers": 7, "num_heads": 4,
            "vocab_size": 300, "decoder_start_token_id": 0,
        },
    ),
}  # fmt: skip
"""Config class, task and sizes by name."""


@cache
def config(name):
    import transformers

    kind, _, sizes = ARCHITECTURES[name]
    return getattr(transformers, kind)(**sizes)


def folder(name, root):
    """A folder with nothing but the config, made once."""
    path = root / name
    if not path.is_dir():
        config(name).save_pretrained(path)
    return path
