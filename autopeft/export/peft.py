"""peft: ``adapter_config.json``, the adapter alone."""

from autopeft.errors import invalid
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import Facts
from autopeft.files import to_json


def _render(facts: Facts) -> Exported:
    if not facts.adapter:
        raise invalid(
            "candidate.method", "a config for peft", "a method that peft has", facts.tuned.candidate.method,
            "Train it here instead: autopeft train.",
        )  # fmt: skip
    content = {**facts.adapter, "base_model_name_or_path": facts.tuned.model.source}
    chosen = facts.tuned.candidate
    unsupported = [
        f"Learning rate {chosen.learning_rate:g}, batch {chosen.batch_size} × {chosen.accumulation}, "
        f"{chosen.optimizer} and {facts.tuned.training.epochs:g} epochs are no part of peft's file: "
        "export --to transformers too.",
    ]
    return Exported(text=to_json(content) + "\n", unsupported=(*unsupported, *facts.quantization_left()))


TARGET = Target(
    name="peft",
    title="peft",
    file="adapter_config.json",
    schema="0.21",
    run="peft.PeftConfig.from_json_file('FILE')",
    render=_render,
)
