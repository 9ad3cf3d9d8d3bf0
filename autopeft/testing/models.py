"""Tiny models and a tokenizer made in code, with all sizes different so that a swapped dimension cannot pass.

Hidden size 48, feed-forward 80, key-value width 24 (decoder with grouped-query attention), 3 layers.
"""

from pathlib import Path
from typing import Any

ARCHITECTURES = ("bert", "llama", "gpt2", "t5")
"""Encoder with biases; decoder without biases, grouped-query, untied; decoder with Conv1D, fused qkv, tied; seq2seq."""

VOCABULARY = 264
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def tiny_tokenizer() -> Any:
    """Returns a byte-level tokenizer (one token per byte, 5 special tokens) with a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*_SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        mask_token="<mask>", cls_token="<s>", sep_token="</s>", model_max_length=128,
    )  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast


def tiny_config(architecture: str) -> Any:
    """Returns the config of one of `ARCHITECTURES`.

    Raises:
        KeyError: the architecture is not one of them.
    """
    from transformers import BertConfig, GPT2Config, LlamaConfig, T5Config

    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {
        "bert": lambda: BertConfig(
            vocab_size=VOCABULARY, hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
            intermediate_size=80, max_position_embeddings=128, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, **tokens,
        ),
        "llama": lambda: LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=80, max_position_embeddings=128,
            tie_word_embeddings=False, **tokens,
        ),
        "gpt2": lambda: GPT2Config(
            vocab_size=VOCABULARY, n_embd=48, n_layer=3, n_head=4, n_inner=80, n_positions=128,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **tokens,
        ),
        "t5": lambda: T5Config(
            vocab_size=VOCABULARY, d_model=48, d_kv=10, d_ff=80, num_layers=3, num_heads=4, dropout_rate=0.0,
            pad_token_id=0, eos_token_id=2, decoder_start_token_id=0,
        ),
    }[architecture]()  # fmt: skip


def tiny_model_folder(architecture: str, folder: Path, *, weights: bool = True, seed: int = 0) -> Path:
    """Writes a tiny model as a user would have it on disk, and returns its folder.

    Args:
        architecture: one of `ARCHITECTURES`.
        folder: where to put it; made when missing.
        weights: whether to write random weights and the tokenizer beside ``config.json``.
        seed: of the weights.
    """
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    folder.mkdir(parents=True, exist_ok=True)
    config = tiny_config(architecture)
    if not weights:
        config.save_pretrained(folder)
        return folder
    kind: Any = {
        "bert": AutoModelForMaskedLM, "llama": AutoModelForCausalLM, "gpt2": AutoModelForCausalLM,
        "t5": AutoModelForSeq2SeqLM,
    }.get(architecture, AutoModel)  # fmt: skip
    torch.manual_seed(seed)
    kind.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
