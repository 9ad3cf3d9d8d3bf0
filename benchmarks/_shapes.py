"""Configs of the models in the evidence whose shapes are public and plain, so that rules can be asked about them."""

from typing import Any

Config = dict[str, Any]


def _llama(hidden: int, forward: int, layers: int, heads: int, key_value: int, vocabulary: int) -> Config:
    return {
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": forward, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": key_value, "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
    }  # fmt: skip


def _encoder(
    hidden: int, layers: int, heads: int, vocabulary: int, *, kind: str = "bert", positions: int = 512
) -> Config:
    return {
        "model_type": kind, "hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "vocab_size": vocabulary, "max_position_embeddings": positions,
    }  # fmt: skip


def _gpt2(hidden: int, layers: int, heads: int) -> Config:
    return {"model_type": "gpt2", "n_embd": hidden, "n_layer": layers, "n_head": heads, "vocab_size": 50_257}


LLAMA_3_8B = _llama(4096, 14336, 32, 32, 8, 128_256)
LLAMA_7B = _llama(4096, 11008, 32, 32, 32, 32_000)
BERT_BASE = _encoder(768, 12, 12, 30_522)
ROBERTA_BASE = _encoder(768, 12, 12, 50_265, kind="roberta", positions=514)

CONFIGS: dict[str, Config] = {
    "meta-llama/Llama-3.2-3B": {**_llama(3072, 8192, 28, 24, 8, 128_256), "tie_word_embeddings": True},
    "LLaMA-7B": LLAMA_7B,
    "LLaMA2-7B": LLAMA_7B,
    "LLaMA-13B": _llama(5120, 13824, 40, 40, 40, 32_000),
    "LLaMA3-8B": LLAMA_3_8B,
    "LLAMA-3-8B": LLAMA_3_8B,
    "BLOOM-7B": {"model_type": "bloom", "hidden_size": 4096, "n_layer": 30, "n_head": 32, "vocab_size": 250_880},
    "GPT-j-6B": {"model_type": "gptj", "n_embd": 4096, "n_layer": 28, "n_head": 16, "vocab_size": 50_400},
    "gpt2-medium": _gpt2(1024, 24, 16),
    "gpt2-large": _gpt2(1280, 36, 20),
    "gpt2-xl": _gpt2(1600, 48, 25),
    "bert-base": BERT_BASE,
    "bert-base-uncased": BERT_BASE,
    "bert-tiny": _encoder(128, 2, 2, 30_522),
    "bertimbau-base": _encoder(768, 12, 12, 29_794),
    "bertimbau-large": _encoder(1024, 24, 16, 29_794),
    "muril-base-cased": _encoder(768, 12, 12, 197_285),
    "roberta-base": ROBERTA_BASE,
    "codebert-base": ROBERTA_BASE,
    "distilroberta-base": {**ROBERTA_BASE, "num_hidden_layers": 6},
    "bertweet-base": _encoder(768, 12, 12, 64_001, kind="roberta", positions=130),
    "klue-roberta-base": _encoder(768, 12, 12, 32_000, kind="roberta", positions=514),
    "xlm-roberta-base": _encoder(768, 12, 12, 250_002, kind="xlm-roberta", positions=514),
    "distilbert-base-uncased": {"model_type": "distilbert", "vocab_size": 30_522},
    "t5-small": {"model_type": "t5", "vocab_size": 32_128},
    **{f"minilm-{layers}": _encoder(384, layers, 12, 30_522) for layers in (2, 4, 6)},
    **{f"smollm2-{n}": {**_llama(576, 1536, n, 9, 3, 49_152), "tie_word_embeddings": True} for n in (4, 8, 16, 30)},
}
"""By the name that the evidence has. What a config does not say is as the architecture has it by default."""
