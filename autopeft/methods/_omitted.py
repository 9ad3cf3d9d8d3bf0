"""The methods of peft that the catalogue leaves out, each with its reason."""

from collections.abc import Mapping

OMITTED: Mapping[str, str] = {
    "alora": (
        "Activated LoRA adapts only what follows an invocation that must stand in every row, so that a server can keep"
        " the cache of what stands before; the data here has no such mark."
    ),
    "arrow": "It routes between LoRA adapters that were trained before and trains none itself.",
    "cpt": (
        "Context-aware prompt tuning trains the embeddings of example texts and needs a mask with every row that tells"
        " examples, labels and input apart, which the data here does not have."
    ),
    "gaussian": (
        "It draws LoRA's first factor from a normal distribution in place of a uniform one; the second starts at zero"
        " all the same, so that it is plain LoRA under another seed."
    ),
    "kasa": (
        "Its paper trains with two further losses, which peft leaves to the training loop to add; neither the one here"
        " nor a user's trainer does, and without them it is another method."
    ),
    "monteclora": (
        "Its paper trains with the divergence of what it samples from as a further loss, which peft leaves to the"
        " training loop to add; neither the one here nor a user's trainer does."
    ),
    "multitask_prompt_tuning": (
        "It shares a prompt among several tasks and needs the number of its task with every row; one search here has"
        " one task."
    ),
    "poly": (
        "It routes between several LoRAs by the number of a row's task; one search here has one task, on which there"
        " is nothing to route."
    ),
    "qalora": "Its layers exist for GPTQ-quantized bases alone, which no kept dependency writes or runs on a CPU.",
    "shadow": (
        "It trains a second, smaller network beside the model, built from the model's own architecture with a loss of"
        " its own; what it trains is not known before that network is built."
    ),
    "xlora": "It mixes LoRA adapters that were trained before and trains none itself.",
}
"""peft's name → why the catalogue has no entry for it."""
