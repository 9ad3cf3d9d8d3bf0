"""Unsloth: the YAML file of ``unsloth train``."""

from typing import Any

from autopeft.errors import invalid
from autopeft.export._data import (
    HUMANS,
    OPENAI,
    SHAREGPT,
    SPEAKERS,
    chats_left,
    is_sharegpt,
    place,
    subset_left,
    suffix_left,
)
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import LOW_RANK, Facts
from autopeft.files import to_yaml

_ADAPTER = {
    "lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}  # fmt: skip
_READ = (".csv", ".json", ".jsonl", ".parquet")


def _render(facts: Facts) -> Exported:
    facts.require_decoder_with(LOW_RANK, full=True)
    if facts.bits == 8:
        raise invalid("candidate.quantization", "a config for Unsloth", "none or a 4-bit one", "8 bits")
    tuned, chosen = facts.tuned, facts.tuned.candidate
    training: dict[str, Any] = {
        "training_type": "full" if facts.full else facts.peft_type.lower(),
        "max_seq_length": tuned.data.token_limit or 512,
        "load_in_4bit": facts.bits == 4,
        "output_dir": "trained",
        "num_epochs": facts.whole_epochs,
        "learning_rate": chosen.learning_rate,
        "batch_size": chosen.batch_size,
        "gradient_accumulation_steps": chosen.accumulation,
        "warmup_steps": facts.warmup_steps,
        "weight_decay": tuned.training.weight_decay,
        "random_seed": tuned.training.seed,
        "packing": False,
        "train_on_completions": "text" not in tuned.data.columns,
        "gradient_checkpointing": "true" if chosen.gradient_checkpointing else "none",
    }
    content = {"model": tuned.model.source, "data": _data(facts), "training": training, **_adapter(facts)}
    return Exported(text=to_yaml(content), unsupported=tuple(_unsupported(facts)))


def _adapter(facts: Facts) -> dict[str, Any]:
    if facts.full:
        return {}
    return {facts.peft_type.lower(): {**facts.named(_ADAPTER), "target_modules": ",".join(facts.targets)}}


def _data(facts: Facts) -> dict[str, Any]:
    source = place(facts)
    kinds = {"messages": "sharegpt" if is_sharegpt(facts) else "chatml", "text": "raw"}
    form = next((kind for role, kind in kinds.items() if role in facts.tuned.data.columns), "alpaca")
    where: dict[str, Any] = {"local_dataset": [source.path]} if source.loader else {"dataset": source.path}
    return {**where, "format_type": form}


def _unsupported(facts: Facts) -> list[str]:
    tuned, four = facts.tuned, facts.quantization
    found = [*subset_left(facts), *facts.left_over(_ADAPTER.values()), *facts.epochs_left()]
    found += [*suffix_left(facts, *_READ), *chats_left(facts, {OPENAI: SPEAKERS, SHAREGPT: HUMANS | SPEAKERS})]
    if tuned.candidate.optimizer != "adamw_8bit":
        found.append(f"The optimizer {tuned.candidate.optimizer!r} is not expressed: the tool takes its own.")
    if tuned.candidate.schedule != "linear":
        found.append(f"The schedule {tuned.candidate.schedule!r} is not expressed: the tool's falls linearly.")
    if four and (four["bnb_4bit_quant_type"] != "nf4" or not four["bnb_4bit_use_double_quant"]):
        found.append(f"The codes of {tuned.candidate.quantization!r} are not expressed: 4 bits mean nf4, doubled.")
    roles = {"prompt": "instruction", "input": "input", "completion": "output", "text": "text"}
    found += [
        f"The column {column!r} is read as {roles[role]!r}: rename it in the data."
        for role, column in tuned.data.columns.items()
        if role in roles and column != roles[role]
    ]
    found += [
        f"The gradient's largest norm {tuned.training.max_gradient_norm:g} is not expressed.",
        f"The dtype {tuned.candidate.dtype!r} is not expressed: the tool takes the device's.",
    ]
    return [*found, *facts.differences()]


TARGET = Target(
    name="unsloth",
    title="Unsloth",
    file="train.yaml",
    schema="2026.10",
    run="unsloth train --config FILE",
    render=_render,
)
