"""Tiny configs of architectures beyond the four of the fixture; all sizes differ, three layers each."""

from typing import Any

_BERT = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80,
    "max_position_embeddings": 130, "vocab_size": 264, "pad_token_id": 1,
}  # fmt: skip
_LLAMA = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 80, "max_position_embeddings": 128, "vocab_size": 264, "pad_token_id": 0, "head_dim": 12,
}  # fmt: skip
_BART = {
    "d_model": 48, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 80, "decoder_ffn_dim": 80, "vocab_size": 264,
    "max_position_embeddings": 128, "pad_token_id": 1,
}  # fmt: skip
_T5 = {"d_model": 48, "d_kv": 10, "d_ff": 80, "num_layers": 3, "num_decoder_layers": 2, "num_heads": 4,
       "vocab_size": 264}  # fmt: skip
_EXPERTS = {**_LLAMA, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 56}

CONFIGS: dict[str, dict[str, Any]] = {
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": {**_BERT, "embedding_size": 40},
    "deberta-v2": {**_BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 20},
    "distilbert": {"dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 80, "vocab_size": 264},
    "modernbert": {**_BERT, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3},
    "albert": {**_BERT, "embedding_size": 40},
    "mpnet": _BERT,
    "gpt_neox": {**_BERT, "rotary_pct": 0.25},
    "gpt_neo": {"hidden_size": 48, "num_layers": 3, "num_heads": 4, "intermediate_size": 80, "vocab_size": 264,
                "attention_types": [[["global", "local", "global"], 1]]},
    "gptj": {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_inner": 80, "vocab_size": 264, "rotary_dim": 4},
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _LLAMA,
    "olmo2": _LLAMA,
    "phi": {key: value for key, value in _LLAMA.items() if key != "head_dim"},
    "phi3": _LLAMA,
    "starcoder2": _LLAMA,
    "falcon": {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 264},
    "opt": {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 80, "vocab_size": 264,
            "word_embed_proj_dim": 48},
    "bloom": {"hidden_size": 48, "n_layer": 3, "n_head": 4, "vocab_size": 264},
    "mpt": {"d_model": 48, "n_layers": 3, "n_heads": 4, "expansion_ratio": 2, "vocab_size": 264},
    "mixtral": {**_LLAMA, "num_local_experts": 4},
    "qwen2_moe": {**_EXPERTS, "shared_expert_intermediate_size": 64},
    "qwen3_moe": _EXPERTS,
    "mt5": {**_T5, "feed_forward_proj": "gated-gelu"},
    "bart": _BART,
    "mbart": _BART,
    "marian": {**_BART, "decoder_start_token_id": 1},
    "pegasus": _BART,
}  # fmt: skip


def config_of(model_type: str) -> dict[str, Any]:
    """Returns the content of that architecture's `config.json`."""
    return {"model_type": model_type, **CONFIGS[model_type]}
