"""peft: ``adapter_config.json``, the adapter alone."""

from autopeft.errors import invalid
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import Facts
from autopeft.files import to_json

_BESIDE = frozenset({"output_dir", "label_names", "remove_unused_columns", "report_to"})
"""What a trainer needs to be told whatever was tuned."""


def _render(facts: Facts) -> Exported:
    if not facts.adapter:
        raise invalid(
            "candidate.method", "a config for peft", "a method that peft has", facts.tuned.candidate.method,
            "Train it here instead: autopeft train.",
        )  # fmt: skip
    content = {**facts.adapter, "base_model_name_or_path": facts.tuned.model.source}
    settings = facts.tuned.training_settings("trained")
    said = ", ".join(f"{key} {value}" for key, value in settings.items() if key not in _BESIDE)
    unsupported = [
        f"How to train is no part of peft's file ({said}): export --to transformers too.",
        f"The dtype {facts.tuned.candidate.dtype!r} is set where the base model is loaded.",
        *facts.start_left(),
        *facts.optimizer_left(),
        *facts.quantization_left(),
        *facts.data_left(),
        *facts.class_weights_left(),
    ]
    return Exported(text=to_json(content) + "\n", unsupported=tuple(unsupported))


TARGET = Target(
    name="peft",
    title="peft",
    file="adapter_config.json",
    schema="0.21",
    run="peft.PeftConfig.from_json_file('FILE')",
    render=_render,
)
