"""What a module does in its transformer layer, told from its name.

Architectures name the same thing differently: ``q_proj``, ``query``, ``q_lin``, ``q``. Some names (``c_proj``,
``dense``, ``Wo``) stand for several things and are told apart by the modules around them.
"""

from autopeft.values.names import Role

_BY_LEAF: dict[str, Role] = {
    **dict.fromkeys(("q", "query", "q_proj", "q_lin", "query_proj", "wq", "q_b_proj", "q_a_proj", "q_attn"), "query"),
    **dict.fromkeys(("k", "key", "k_proj", "k_lin", "key_proj", "wk"), "key"),
    **dict.fromkeys(("v", "value", "v_proj", "v_lin", "value_proj", "wv"), "value"),
    **dict.fromkeys(("c_attn", "query_key_value", "qkv_proj", "qkv", "wqkv", "kv_proj", "kv_b_proj"), "qkv"),
    **dict.fromkeys(("kv_a_proj_with_mqa",), "qkv"),
    **dict.fromkeys(("o", "o_proj", "out_lin", "post_proj"), "output"),
    **dict.fromkeys(
        ("up_proj", "fc1", "wi", "wi_1", "c_fc", "dense_h_to_4h", "lin1", "fc_in", "w3", "linear_1", "ffn"), "up"
    ),
    **dict.fromkeys(("gate_proj", "wi_0", "w1"), "gate"),
    **dict.fromkeys(("gate_up_proj",), "gate_up"),
    **dict.fromkeys(
        ("down_proj", "fc2", "wo", "dense_4h_to_h", "lin2", "fc_out", "w2", "linear_2", "ffn_output"), "down"
    ),
}  # fmt: skip

_ATTENTION_ONLY: dict[str, Role] = {"in_proj": "qkv", "out_proj": "output"}
_EITHER = frozenset({"dense", "c_proj", "wo"})
_FEED_FORWARD = frozenset({"mlp", "ffn", "feed_forward", "feedforward", "densereludense", "ff"})
_OUTPUT_EMBEDDINGS = frozenset({"lm_head", "embed_out", "output_projection"})


def is_output_embedding(name: str) -> bool:
    """Returns whether a module maps hidden states to the vocabulary."""
    return name.rsplit(".", 1)[-1] in _OUTPUT_EMBEDDINGS or name.endswith("predictions.decoder")


def linear_role(name: str) -> Role:
    """Returns the role of a linear module inside a transformer layer, read from its dotted name."""
    *parents, leaf = name.split(".")
    parents = [part.lower() for part in parents]
    if leaf == "Wi":  # ModernBERT's, gate and up in one matrix; T5's up-projection is `wi`
        return "gate_up"
    leaf = leaf.lower()
    if leaf in _ATTENTION_ONLY:
        return _ATTENTION_ONLY[leaf] if _in_attention(parents) else "other"
    if leaf in _EITHER:
        return _output_or_feed_forward(parents)
    return _BY_LEAF.get(leaf, "other")


def _in_attention(parents: list[str]) -> bool:
    """Returns whether the nearest parent that tells is an attention block."""
    for part in reversed(parents):
        if part in _FEED_FORWARD:
            return False
        if "att" in part:
            return True
    return False


def _output_or_feed_forward(parents: list[str]) -> Role:
    if _in_attention(parents):
        return "output"
    return "up" if parents[-1:] == ["intermediate"] else "down"
