"""The cases of the memory benchmark: architectures from configs in code, methods, storages, lengths, optimizers."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_SMALL = {"hidden_size": 96, "intermediate_size": 224, "num_attention_heads": 6, "vocab_size": 512}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_LARGE = {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 16, "vocab_size": 64000}
_LARGE_GROUPED = {**_LARGE, "num_key_value_heads": 4}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LONG = {"max_position_embeddings": 8192}

Architecture = tuple[str, str, dict[str, Any], dict[str, Any]]
"""Config class, task, sizes for a CPU, sizes for a GPU."""

ARCHITECTURES: dict[str, Architecture] = {
    "llama": (
        "LlamaConfig", "generation", {**_GROUPED, **_LONG, "num_hidden_layers": 6},
        {**_LARGE_GROUPED, **_LONG, "num_hidden_layers": 16},
    ),
    "qwen2": (
        "Qwen2Config", "generation", {**_GROUPED, **_LONG, "num_hidden_layers": 6},
        {**_LARGE_GROUPED, **_LONG, "num_hidden_layers": 16, "vocab_size": 151936},
    ),
    "qwen3": (
        "Qwen3Config", "generation", {**_GROUPED, **_LONG, "num_hidden_layers": 6, "head_dim": 32},
        {**_LARGE_GROUPED, **_LONG, "num_hidden_layers": 16, "head_dim": 128},
    ),
    "gemma2": (
        "Gemma2Config", "generation", {**_GROUPED, **_LONG, "num_hidden_layers": 8, "head_dim": 16},
        {**_LARGE_GROUPED, **_LONG, "num_hidden_layers": 16, "head_dim": 128, "vocab_size": 256000},
    ),
    "mistral": (
        "MistralConfig", "generation", {**_GROUPED, **_LONG, "num_hidden_layers": 6, "sliding_window": 256},
        {**_LARGE_GROUPED, **_LONG, "num_hidden_layers": 16, "sliding_window": 4096},
    ),
    "phi3": (
        "Phi3Config", "generation", {**_GROUPED, **_TOKENS, **_LONG, "num_hidden_layers": 6},
        {**_LARGE_GROUPED, **_TOKENS, **_LONG, "num_hidden_layers": 16},
    ),
    "mixtral": (
        "MixtralConfig", "generation", {**_GROUPED, **_LONG, "num_hidden_layers": 6, "num_local_experts": 4},
        {**_LARGE_GROUPED, **_LONG, "num_hidden_layers": 8, "num_local_experts": 4},
    ),
    "bert": (
        "BertConfig", "classification", {**_SMALL, **_LONG, "num_hidden_layers": 6},
        {**_LARGE, **_LONG, "num_hidden_layers": 12},
    ),
    "modernbert": (
        "ModernBertConfig", "classification", {**_SMALL, **_TOKENS, **_LONG, "num_hidden_layers": 7},
        {**_LARGE, **_TOKENS, **_LONG, "num_hidden_layers": 16},
    ),
    "t5": (
        "T5Config", "seq2seq",
        {
            "d_model": 96, "d_kv": 16, "d_ff": 224, "num_layers": 6, "num_decoder_layers": 6, "num_heads": 6,
            "vocab_size": 512, "decoder_start_token_id": 0,
        },
        {
            "d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 12, "num_decoder_layers": 12, "num_heads": 16,
            "vocab_size": 32128, "decoder_start_token_id": 0,
        },
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One run.

    Attributes:
        candidate: what differs from the benchmark's default candidate.
        padded: whether rows differ in length.
        practice: what differs from how autopeft's own training code goes about a step.
    """

    architecture: str
    tokens: int = 256
    method: str = "lora"
    candidate: dict[str, Any] = field(default_factory=dict)
    padded: bool = True
    practice: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The case in words, by which a row of the results is known."""
        changed = (*sorted(self.candidate.items()), *sorted(self.practice.items()))
        changes = " ".join(f"{key}={value}" for key, value in changed)
        return (
            f"{self.architecture} {self.method} {self.tokens} {'padded' if self.padded else 'even'} {changes}".strip()
        )


STORAGES: tuple[dict[str, Any], ...] = (
    {},
    {"gradient_checkpointing": True},
    {"quantization": "nf4"},
    {"quantization": "nf4-double", "gradient_checkpointing": True},
    {"quantization": "int8"},
)


_FOUR_BITS: tuple[str, dict[str, Any]] = ("llama", {"quantization": "nf4"})
_NEEDS = {"bitfit": ("bert", {}), "ir_qlora": _FOUR_BITS, "loftq": _FOUR_BITS, "lq_lora": _FOUR_BITS}
"""Architecture and changes for methods that a plain decoder is nothing for: it has no biases, or no codes."""

_RECOMPUTED = {"gradient_checkpointing": True}
PRACTICES: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("llama", _RECOMPUTED, {"checkpointing": "non-reentrant"}),
    ("llama", _RECOMPUTED, {"checkpointing": "reentrant"}),
    ("t5", _RECOMPUTED, {"checkpointing": "reentrant"}),
    ("modernbert", {**_RECOMPUTED, "accumulation": 2}, {"checkpointing": "reentrant"}),
    ("qwen2", {}, {"loss": "chunked"}),
    ("gemma2", {**_RECOMPUTED, "quantization": "nf4-double"}, {"loss": "chunked", "checkpointing": "reentrant"}),
    ("llama", {}, {"packing": True}),
    ("mixtral", {}, {"packing": True, "loss": "chunked"}),
    ("mistral", _RECOMPUTED, {"packing": True, "checkpointing": "reentrant"}),
    ("llama", {}, {"attention": "eager"}),
    ("bert", {}, {"attention": "eager"}),
    ("phi3", {"dtype": "bfloat16"}, {"autocast": False}),
)
"""Architecture, changes of the candidate, and what other training code does its own way."""

FLASH: tuple[dict[str, Any], ...] = ({"attention": "flash"}, {"attention": "flash", "packing": True})


def cases(methods: list[str], *, cuda: bool) -> Iterator[Case]:
    """Yields the grid: every architecture in every storage, every method, lengths, optimizers, batches.

    Args:
        methods: names of all methods.
        cuda: whether it is for a GPU: bfloat16, longer rows and paged state; else small enough for a CPU.
    """
    base = {"dtype": "bfloat16" if cuda else "float32"}
    for architecture in ARCHITECTURES:
        for storage in STORAGES:
            if architecture == "mixtral" and "quantization" in storage:
                continue  # its experts are stacked parameters, which bitsandbytes leaves as they are
            yield Case(architecture=architecture, tokens=512 if cuda else 64, candidate={**base, **storage})
    for method in methods:
        architecture, needs = _NEEDS.get(method, ("llama", {}))
        yield Case(
            architecture=architecture, tokens=512 if cuda else 64, method=method, candidate={**base, **needs}
        )  # fmt: skip
    for tokens in (128, 512, 1024, 2048, 4096, 8192) if cuda else (128, 256, 512):
        for rows in (1, 4) if cuda else (1, 3):
            yield Case(
                architecture="llama", tokens=tokens, candidate={**base, "batch_size": rows}, padded=rows > 1
            )  # fmt: skip
    paged = ("paged_adamw_8bit",) if cuda else ()
    for optimizer in ("adafactor", "adamw_8bit", "lora_plus", *paged):
        yield Case(architecture="qwen2", tokens=128, candidate={**base, "optimizer": optimizer})
    for change in ({"accumulation": 4}, {"layers": "last:2"}, {"targets": "qv"}, {"targets": "mlp"}):
        yield Case(architecture="llama", tokens=128, candidate={**base, **change})
    flash = [("llama", {}, practice) for practice in FLASH] if cuda else []
    for architecture, change, practice in (*PRACTICES, *flash):
        yield Case(
            architecture=architecture, tokens=512 if cuda else 64, candidate={**base, **change},
            padded="packing" not in practice, practice=practice,
        )  # fmt: skip
    for change in ({"dtype": "bfloat16"}, {"dtype": "float32"}, {"dtype": "bfloat16", "optimizer": "adamw_foreach"}):
        yield Case(architecture="bert", tokens=256, method="full", candidate=change)
