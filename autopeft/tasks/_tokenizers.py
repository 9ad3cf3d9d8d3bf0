"""Makes a tokenizer ready for padding in batches."""

from typing import Any


def ready_tokenizer(tokenizer: Any) -> Any:
    """Returns the tokenizer with a pad token and padding on the right.

    Many decoders come without a pad token; they pad with EOS (or, lacking that, with the unknown token). Padded
    positions carry no attention and no loss, so the choice does not change what is learnt. Whoever loads the
    model sets ``model.config.pad_token_id`` to this tokenizer's: classification heads of decoders find a row's
    last token by it.
    """
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"
    return tokenizer
