"""The model that the catalogue measures shares on: Llama 2 with seven billion parameters, written out as a profile."""

from autopeft.values.names import Role
from autopeft.values.profiles import ModelProfile, ModuleShape

HIDDEN, FEED_FORWARD, LAYERS, HEADS, VOCABULARY = 4096, 11008, 32, 32, 32000
_LINEAR: tuple[tuple[str, Role, int, int], ...] = (
    ("self_attn.q_proj", "query", HIDDEN, HIDDEN),
    ("self_attn.k_proj", "key", HIDDEN, HIDDEN),
    ("self_attn.v_proj", "value", HIDDEN, HIDDEN),
    ("self_attn.o_proj", "output", HIDDEN, HIDDEN),
    ("mlp.gate_proj", "gate", HIDDEN, FEED_FORWARD),
    ("mlp.up_proj", "up", HIDDEN, FEED_FORWARD),
    ("mlp.down_proj", "down", FEED_FORWARD, HIDDEN),
)


def seven_billion() -> ModelProfile:
    """Returns the profile of Llama 2 7B for generation (Touvron et al., arXiv 2307.09288; sizes of its config)."""
    modules = (
        _module("model.embed_tokens", "embedding", "embedding", VOCABULARY, HIDDEN, None),
        *(module for layer in range(LAYERS) for module in _layer(layer)),
        _module("model.norm", "norm", "norm", HIDDEN, HIDDEN, None),
        _module("lm_head", "linear", "head", HIDDEN, VOCABULARY, None),
    )
    return ModelProfile(
        source="llama-2-7b", fingerprint="0" * 64, model_type="llama", architecture="LlamaForCausalLM", kind="decoder",
        tasks=("generation", "instruction", "reasoning", "classification"),
        parameters=sum(m.parameters for m in modules), layers=LAYERS, hidden_size=HIDDEN,
        feed_forward_size=FEED_FORWARD, attention_heads=HEADS, key_value_heads=HEADS, head_size=HIDDEN // HEADS,
        vocabulary_size=VOCABULARY, tied_embeddings=False, max_positions=4096, weight_bytes=None,
        weight_format="safetensors", task="generation", labels=0, modules=modules,
    )  # fmt: skip


def _layer(layer: int) -> tuple[ModuleShape, ...]:
    stem = f"model.layers.{layer}"
    norms = ("input_layernorm", "post_attention_layernorm")
    return (
        *(_module(f"{stem}.{name}", "linear", role, into, out, layer) for name, role, into, out in _LINEAR),
        *(_module(f"{stem}.{name}", "norm", "norm", HIDDEN, HIDDEN, layer) for name in norms),
    )


def _module(name: str, kind: str, role: Role, into: int, out: int, layer: int | None) -> ModuleShape:
    return ModuleShape(
        name=name, kind=kind, role=role, in_features=into, out_features=out, bias=False,  # type: ignore[arg-type]
        parameters=out if kind == "norm" else into * out, layer=layer,
    )  # fmt: skip
