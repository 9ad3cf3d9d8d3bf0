"""transformers: the trainer's arguments as its own parser of JSON files takes them."""

from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import Facts
from autopeft.files import to_json


def _render(facts: Facts) -> Exported:
    tuned = facts.tuned
    settings = tuned.training_settings("trained")
    unsupported = [
        *facts.data_left(),
        *facts.optimizer_left(),
        *facts.quantization_left(),
        *facts.class_weights_left(),
        *_accumulation_left(facts),
    ]
    if not facts.full:
        where = "export --to peft for its file" if facts.adapter else "autopeft alone has it: use autopeft train"
        unsupported.append(f"The method {_method(facts)} is no training argument: {where}.")
    return Exported(text=to_json(settings) + "\n", unsupported=tuple(unsupported))


def _accumulation_left(facts: Facts) -> list[str]:
    if facts.tuned.candidate.accumulation == 1:
        return []
    return [
        "The mean over accumulated batches is no argument: set `model.accepts_loss_kwargs = False` for the Trainer."
    ]


def _method(facts: Facts) -> str:
    chosen = facts.tuned.candidate
    parameters = "".join(f"{key} {value}, " for key, value in chosen.parameters.items())
    return f"{chosen.method} ({parameters}targets {chosen.targets}, layers {chosen.layers})"


TARGET = Target(
    name="transformers",
    title="transformers",
    file="training_arguments.json",
    schema="5.23",
    run="HfArgumentParser(TrainingArguments).parse_json_file('FILE')",
    render=_render,
)
