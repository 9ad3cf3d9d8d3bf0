"""Axolotl: its YAML config."""

from typing import Any

from autopeft.export._data import HUMANS, OPENAI, SPEAKERS, chats_left, place
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import LOW_RANK, Facts
from autopeft.files import to_yaml

_ADAPTER = {"lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout"}
_SWITCHES = {"peft_use_rslora": "use_rslora", "peft_use_dora": "use_dora"}


def _render(facts: Facts) -> Exported:
    facts.require_decoder_with(LOW_RANK, full=True)
    tuned, chosen = facts.tuned, facts.tuned.candidate
    settings = tuned.training_settings("trained")
    content: dict[str, Any] = {
        "base_model": tuned.model.source,
        **_quantization(facts),
        **_adapter(facts),
        "datasets": [_data(facts)],
        "output_dir": "trained",
        "sequence_len": tuned.data.token_limit or 512,
        "sample_packing": False,
        "micro_batch_size": chosen.batch_size,
        "gradient_accumulation_steps": chosen.accumulation,
        "num_epochs": tuned.training.epochs,
        "optimizer": settings["optim"],
        "lr_scheduler": settings["lr_scheduler_type"],
        "learning_rate": chosen.learning_rate,
        "warmup_steps": facts.warmup_steps,
        "weight_decay": tuned.training.weight_decay,
        "max_grad_norm": tuned.training.max_gradient_norm,
        "gradient_checkpointing": chosen.gradient_checkpointing,
        "bf16": chosen.dtype == "bfloat16",
        "fp16": chosen.dtype == "float16",
        "train_on_inputs": False,
        "seed": tuned.training.seed,
    }
    content |= {key: settings[key] for key in ("lr_scheduler_kwargs", "optim_args") if key in settings}
    if "optim_target_modules" in settings:
        content["optim_target_modules"] = settings["optim_target_modules"].replace("-", "_")  # as its schema has it
    if chosen.gradient_checkpointing:
        content["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
    content |= {"loraplus_lr_ratio": facts.rate_ratio} if facts.rate_ratio else {}
    expressed = {*_ADAPTER.values(), *_SWITCHES.values(), "init_lora_weights"}
    unsupported = [*facts.left_over(expressed), *facts.optimizer_left("ratio"), *_chats_left(facts)]
    unsupported += facts.differences()
    return Exported(text=to_yaml(content), unsupported=tuple(unsupported))


def _adapter(facts: Facts) -> dict[str, Any]:
    if facts.full:
        return {}
    kind = facts.peft_type.lower()
    start = facts.adapter["init_lora_weights"]
    return {
        "adapter": f"q{kind}" if facts.bits == 4 else kind,
        **facts.named(_ADAPTER),
        "lora_target_modules": list(facts.targets),
        **{theirs: True for theirs, on in facts.named(_SWITCHES).items() if on},
        **({"peft_init_lora_weights": start} if start is not True else {}),
    }


def _quantization(facts: Facts) -> dict[str, Any]:
    if facts.bits != 4:
        return {"load_in_8bit": True} if facts.bits else {}
    names = ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant")
    return {"load_in_4bit": True, "bnb_config_kwargs": {name: facts.quantization[name] for name in names}}


def _data(facts: Facts) -> dict[str, Any]:
    source, columns = place(facts), facts.tuned.data.columns
    where: dict[str, Any] = {
        "path": source.path,
        "split": "train",
        **({"ds_type": source.loader} if source.loader else {}),
        **({"name": source.subset} if source.subset else {}),
    }
    if "messages" in columns:
        return {**where, "type": "chat_template", "field_messages": columns["messages"], **_turns(facts)}
    if "text" in columns:
        return {**where, "type": "completion", "field": columns["text"]}
    form: dict[str, Any] = {"field_instruction": columns["prompt"], "field_output": columns["completion"]}
    if "input" in columns:
        form |= {"field_input": columns["input"], "format": "{instruction}\n\n{input}\n"}
    else:
        form |= {"format": "{instruction}\n"}
    return {**where, "type": {**form, "no_input_format": "{instruction}\n"}}


def _turns(facts: Facts) -> dict[str, Any]:
    """Returns the keys of the chats' turns, where they are not the tool's own."""
    form = facts.chat
    if form is None or form.keys == OPENAI:
        return {}
    return {"message_property_mappings": {"role": form.role, "content": form.content}}


def _chats_left(facts: Facts) -> list[str]:
    keys = facts.chat.keys if facts.chat else OPENAI
    return chats_left(facts, {keys: HUMANS | SPEAKERS})


TARGET = Target(
    name="axolotl", title="Axolotl", file="config.yml", schema="0.19", run="axolotl train FILE", render=_render
)
