"""TRL: the YAML file of ``trl sft``."""

import re
from typing import Any

from autopeft.export._data import OPENAI, SHAREGPT, SPEAKERS, chats_left, place, renamed
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import LOW_RANK, Facts
from autopeft.files import to_yaml

_SHARED = (
    "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "bf16",
    "fp16", "optim", "optim_args", "optim_target_modules", "num_train_epochs", "lr_scheduler_type",
    "lr_scheduler_kwargs", "weight_decay", "max_grad_norm", "seed", "report_to",
)  # fmt: skip


_ADAPTER = {
    "lora_r": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}  # fmt: skip


def _render(facts: Facts) -> Exported:
    facts.require_decoder_with(LOW_RANK, full=True)
    tuned = facts.tuned
    settings = tuned.training_settings("trained")
    content: dict[str, Any] = {
        "model_name_or_path": tuned.model.source,
        "dtype": tuned.candidate.dtype,
        **_adapter(facts),
        **_quantization(facts),
        **_data(facts),
        "output_dir": "trained",
        **{key: settings[key] for key in _SHARED if key in settings},
        "warmup_steps": facts.warmup_steps,
        "max_length": tuned.data.token_limit,
    }
    left = facts.left_over(_ADAPTER.values())
    unsupported = [*renamed(facts, "text"), *facts.input_left(), *left, *facts.optimizer_left(), *_chats_left(facts)]
    if facts.bits and not facts.full:
        unsupported.append("Beside a quantized base the adapter's factors are trained in bfloat16, not in float32.")
    unsupported += facts.differences()
    return Exported(text=to_yaml(content), unsupported=tuple(unsupported))


def _adapter(facts: Facts) -> dict[str, Any]:
    if facts.full:
        return {}
    return {"use_peft": True, **facts.named(_ADAPTER), "lora_target_modules": _targets(facts)}


def _targets(facts: Facts) -> list[str]:
    """Returns what selects the targeted modules; of one name the tool makes a text, which peft takes for a pattern."""
    if len(facts.targets) != 1:
        return list(facts.targets)
    return [rf"(.*\.)?{re.escape(facts.targets[0])}"]


def _quantization(facts: Facts) -> dict[str, Any]:
    if facts.bits != 4:
        return {"load_in_8bit": True} if facts.bits else {}
    return {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": facts.quantization["bnb_4bit_quant_type"],
        "use_bnb_nested_quant": facts.quantization["bnb_4bit_use_double_quant"],
    }


def _data(facts: Facts) -> dict[str, Any]:
    source, columns = place(facts), facts.tuned.data.columns
    field = {"dataset_text_field": columns["text"]} if "text" in columns else {}
    if source.loader:
        return {"datasets": [{"path": source.loader, "data_files": source.path, "split": "train"}], **field}
    return {"dataset_name": source.path, **({"dataset_config": source.subset} if source.subset else {}), **field}


def _chats_left(facts: Facts) -> list[str]:
    # The other form is read in a column of one name alone, and its speakers stay as they are called.
    known = facts.tuned.data.columns.get("messages") == "conversations"
    return chats_left(facts, {OPENAI: SPEAKERS, **({SHAREGPT: SPEAKERS} if known else {})})


TARGET = Target(name="trl", title="TRL", file="sft.yaml", schema="1.16", run="trl sft --config FILE", render=_render)
