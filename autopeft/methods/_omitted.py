"""The methods of peft that the catalogue leaves out, each with its reason."""

from collections.abc import Mapping

OMITTED: Mapping[str, str] = {
    "cpt": (
        "Context-aware prompt tuning trains the embeddings of example texts and needs a mask with every row that tells"
        " examples, labels and input apart, which the data here does not have."
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
