"""LLaMA-Factory: the YAML file of ``llamafactory-cli train`` with its ``dataset_info.json``."""

from pathlib import Path
from typing import Any

from autopeft.export._data import OPENAI, chats_left, place, suffix_left
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import LOW_RANK, Facts
from autopeft.files import to_json, to_yaml

_SHARED = (
    "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "bf16", "fp16", "optim",
    "optim_args", "optim_target_modules", "num_train_epochs", "lr_scheduler_type", "lr_scheduler_kwargs",
    "weight_decay", "max_grad_norm", "seed", "report_to",
)  # fmt: skip
_ADAPTER = {
    "lora_rank": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "use_rslora": "use_rslora",
    "use_dora": "use_dora",
}  # fmt: skip
_NAME = "tuned"
_SPEAKERS = ("user", "assistant", "system")
_READ = (".csv", ".json", ".jsonl", ".parquet", ".txt")


def _render(facts: Facts) -> Exported:
    facts.require_decoder_with(LOW_RANK, full=True)
    tuned = facts.tuned
    settings = tuned.training_settings("trained")
    content: dict[str, Any] = {
        "model_name_or_path": tuned.model.source,
        **_stage(facts),
        "do_train": True,
        **_adapter(facts),
        **_quantization(facts),
        "dataset_dir": ".",
        "dataset": _NAME,
        "template": "empty" if tuned.model.task == "generation" else "default",
        "cutoff_len": tuned.data.token_limit or 512,
        **({"mask_history": True} if "messages" in tuned.data.columns else {}),
        "output_dir": "trained",
        **{key: settings[key] for key in _SHARED if key in settings},
        "warmup_steps": facts.warmup_steps,
        "disable_gradient_checkpointing": not tuned.candidate.gradient_checkpointing,
        **({"use_reentrant_gc": False} if tuned.candidate.gradient_checkpointing else {}),
    }
    unsupported = [*facts.left_over(_ADAPTER.values()), *facts.optimizer_left("ratio")]
    unsupported += [*suffix_left(facts, *_READ), *_chats_left(facts), *_dtype_left(facts)]
    unsupported += [
        "`template` must be that of the model (such as llama3): the tokenizer's own chat template is not read.",
        "`dataset_dir` is this file's folder when the command runs there: dataset_info.json lies beside it.",
        *facts.differences(),
    ]
    return Exported(
        text=to_yaml(content),
        unsupported=tuple(unsupported),
        companions={"dataset_info.json": to_json({_NAME: _data(facts)}) + "\n"},
    )


def _stage(facts: Facts) -> dict[str, Any]:
    """Returns the kind of training; of plain text each row is a row of its own, which the tool would else join."""
    return {"stage": "pt", "packing": False} if "text" in facts.tuned.data.columns else {"stage": "sft"}


def _adapter(facts: Facts) -> dict[str, Any]:
    if facts.full:
        return {"finetuning_type": "full"}
    return {
        "finetuning_type": facts.peft_type.lower(),
        **facts.named(_ADAPTER),
        "lora_target": ",".join(facts.targets),
        **({"loraplus_lr_ratio": facts.rate_ratio} if facts.rate_ratio else {}),
    }


def _quantization(facts: Facts) -> dict[str, Any]:
    if not facts.bits:
        return {}
    storage = {"quantization_bit": facts.bits, "quantization_method": "bnb"}
    if facts.bits == 8:
        return storage
    return {
        **storage,
        "quantization_type": facts.quantization["bnb_4bit_quant_type"],
        "double_quantization": facts.quantization["bnb_4bit_use_double_quant"],
    }


def _data(facts: Facts) -> dict[str, Any]:
    source, columns = place(facts), facts.tuned.data.columns
    where = {"file_name": str(Path(source.path).resolve())} if source.loader else {"hf_hub_url": source.path}
    where |= {"subset": source.subset} if source.subset else {}
    if "messages" in columns:
        told = {"columns": {"messages": columns["messages"]}, "tags": _tags(facts)}
        return {**where, "formatting": "sharegpt", **told}
    if "text" in columns:
        return {**where, "columns": {"prompt": columns["text"]}}
    roles = {"prompt": "prompt", "input": "query", "completion": "response"}
    return {**where, "columns": {theirs: columns[ours] for ours, theirs in roles.items() if ours in columns}}


def _tags(facts: Facts) -> dict[str, str]:
    """Returns how the chats write their turns; as `role` and `content` where that is not known."""
    role, content = facts.chat.keys if facts.chat else OPENAI
    speakers = facts.chat.speakers if facts.chat else {}
    names = {f"{name}_tag": speakers.get(name, name) for name in _SPEAKERS}
    return {"role_tag": role, "content_tag": content, **names}


def _chats_left(facts: Facts) -> list[str]:
    tags = _tags(facts)
    return chats_left(facts, {(tags["role_tag"], tags["content_tag"]): [tags[f"{name}_tag"] for name in _SPEAKERS]})


def _dtype_left(facts: Facts) -> list[str]:
    if facts.tuned.candidate.dtype == "float32":
        return ["The dtype 'float32' is not expressed: the base is loaded in 16 bits where the device has them."]
    return ["Whole weights are trained in float32, whatever the dtype."] if facts.full else []


TARGET = Target(
    name="llamafactory",
    title="LLaMA-Factory",
    file="train.yaml",
    schema="0.9.5",
    run="llamafactory-cli train FILE",
    render=_render,
)
