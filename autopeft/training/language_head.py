"""The language head of a checkpoint whose backbone was loaded for another task."""

from collections.abc import Callable
from typing import Any

from autopeft.profiling.config import has_class
from autopeft.training.base import location
from autopeft.values.names import Dtype
from autopeft.values.profiles import ModelProfile

_CLASSES = {"encoder": "AutoModelForMaskedLM", "decoder": "AutoModelForCausalLM"}


def language_head(profile: ModelProfile, *, dtype: Dtype, device: str) -> Callable[[Any], Any] | None:
    """Returns hidden states [positions, hidden] → logits [positions, vocabulary], None where there is no such head.

    The whole checkpoint is read once more for it, and all but the head is dropped.

    Args:
        profile: of the model. Of an encoder-decoder none is taken: its head belongs to pretraining on spans.
        dtype: of the head's weights.
        device: torch's name for it.
    """
    import torch
    import transformers
    from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

    if profile.kind not in _CLASSES:
        return None
    where, options = location(profile.source)
    auto = getattr(transformers, _CLASSES[profile.kind])
    if not has_class(transformers.AutoConfig.from_pretrained(where, **options), _CLASSES[profile.kind]):
        return None
    model, told = auto.from_pretrained(where, dtype=dtype, output_loading_info=True, **options)
    prefix = model.base_model_prefix
    if not hasattr(model, prefix) or any(not key.startswith(f"{prefix}.") for key in told["missing_keys"]):
        return None

    class Given(torch.nn.Module):
        """Stands where the backbone was and returns hidden states that others computed."""

        states: Any = None

        def forward(self, *_arguments: Any, **_named: Any) -> Any:
            return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.states)

    given = Given()
    setattr(model, prefix, given)
    model.to(device).eval().requires_grad_(requires_grad=False)

    def head(hidden: Any) -> Any:
        given.states = hidden.unsqueeze(0)
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=device)
        return model(input_ids=ids).logits[0]

    return head
