"""torchtune: the YAML config of its LoRA recipe for one device."""

import re
from pathlib import Path
from typing import Any

from autopeft.errors import invalid
from autopeft.export._data import HUMANS, OPENAI, SHAREGPT, SPEAKERS, chats_left, is_sharegpt, place
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import LOW_RANK, Facts
from autopeft.files import read_json, to_yaml

_ATTENTION = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "o_proj": "output_proj"}
_MLP = frozenset({"gate_proj", "up_proj", "down_proj"})
_SIZES = {
    "vocab_size": "vocab_size", "num_layers": "num_hidden_layers", "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads", "embed_dim": "hidden_size", "max_seq_len": "max_position_embeddings",
    "intermediate_dim": "intermediate_size", "norm_eps": "rms_norm_eps",
}  # fmt: skip
_SCALED = "scale_factor"


_ADAPTER = {"lora_rank": "r", "lora_alpha": "lora_alpha", "lora_dropout": "lora_dropout", "use_dora": "use_dora"}


def _render(facts: Facts) -> Exported:
    facts.require_decoder_with(LOW_RANK)
    tuned, chosen = facts.tuned, facts.tuned.candidate
    if facts.quantization and facts.quantization.get("bnb_4bit_quant_type") != "nf4":
        raise invalid("candidate.quantization", "a config for torchtune", "none or a kind of nf4", chosen.quantization)
    if not _attention(facts):
        raise invalid(
            "candidate.targets", "a config for torchtune", "one with layers of the attention, without which it has no "
            "adapter", chosen.targets, "Train it here instead: autopeft train.",
        )  # fmt: skip
    folder = Path(tuned.model.source)
    if not (folder / "config.json").is_file():
        raise invalid("model.source", "a config for torchtune", "a model folder on this machine", tuned.model.source)
    if "text" in tuned.data.columns:
        dataset: dict[str, Any] = {"_component_": "torchtune.datasets.text_completion_dataset", **_source(facts)}
        dataset["column"] = tuned.data.columns["text"]
    else:
        dataset = _dialogue(facts)
    model, checkpoint = _model(facts, read_json(folder / "config.json"))
    content = {
        "output_dir": "trained",
        "model": model,
        "tokenizer": _tokenizer(facts, folder),
        "checkpointer": {
            "_component_": "torchtune.training.FullModelHFCheckpointer",
            "checkpoint_dir": str(folder),
            "checkpoint_files": sorted(path.name for path in folder.glob("*.safetensors")),
            "recipe_checkpoint": None,
            "output_dir": "${output_dir}",
            "model_type": checkpoint,
        },
        "resume_from_checkpoint": False,
        "save_adapter_weights_only": True,
        "dataset": dataset,
        "seed": tuned.training.seed,
        "shuffle": True,
        "batch_size": chosen.batch_size,
        "optimizer": {
            "_component_": "torch.optim.AdamW",
            "lr": chosen.learning_rate,
            "weight_decay": tuned.training.weight_decay,
        },
        "lr_scheduler": {
            "_component_": "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup",
            "num_warmup_steps": facts.warmup_steps,
        },
        "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
        "epochs": facts.whole_epochs,
        "max_steps_per_epoch": None,
        "gradient_accumulation_steps": chosen.accumulation,
        "clip_grad_norm": tuned.training.max_gradient_norm,
        "compile": False,
        "metric_logger": {
            "_component_": "torchtune.training.metric_logging.DiskLogger",
            "log_dir": "${output_dir}/logs",
        },
        "log_every_n_steps": 1,
        "log_peak_memory_stats": False,
        "device": "cuda",
        "dtype": "fp32" if chosen.dtype == "float32" else "bf16",
        "enable_activation_checkpointing": chosen.gradient_checkpointing,
        "enable_activation_offloading": False,
        "profiler": {"_component_": "torchtune.training.setup_torch_profiler", "enabled": False},
    }
    return Exported(text=to_yaml(content), unsupported=tuple(_unsupported(facts)))


def _model(facts: Facts, config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Returns the model's component with its sizes, and the name that its checkpoints go by."""
    builder, checkpoint, extra = _builder(facts, config)
    leaves = {name.rpartition(".")[2] for name in facts.modules}
    scheme = config.get("rope_parameters") or {}
    sizes = {ours: config[theirs] for ours, theirs in _SIZES.items() if theirs in config}
    return {
        "_component_": builder,
        **sizes,
        "rope_base": int(scheme.get("rope_theta") or config.get("rope_theta") or 10_000),
        **extra,
        "lora_attn_modules": _attention(facts),
        "apply_lora_to_mlp": leaves >= _MLP,
        "apply_lora_to_output": False,
        **facts.named(_ADAPTER),
        "quantize_base": bool(facts.bits),
    }, checkpoint


def _attention(facts: Facts) -> list[str]:
    """Returns the tool's names of the targeted layers of the attention."""
    leaves = {name.rpartition(".")[2] for name in facts.modules}
    return [theirs for ours, theirs in _ATTENTION.items() if ours in leaves]


def _builder(facts: Facts, config: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    # Configs from before that name was found have it as `type`.
    rope = scaling.get("rope_type") or scaling.get("type") or "default"
    plain = rope == "default"
    kind = facts.setup.model.model_type
    tied = bool(config.get("tie_word_embeddings"))
    path = "torchtune.models.{0}." + facts.peft_type.lower() + "_{0}"
    if kind == "llama" and rope == "llama3":
        extra = {_SCALED: int(scaling["factor"])}
        if tied:
            return path.format("llama3_2"), "LLAMA3_2", extra
        return path.format("llama3_1"), "LLAMA3", extra
    if kind == "llama" and plain and not tied:
        return path.format("llama3"), "LLAMA3", {}
    if kind == "mistral" and plain and not tied:
        return path.format("mistral"), "MISTRAL", {}
    if kind == "qwen2" and plain:
        return path.format("qwen2"), "QWEN2", {"tie_word_embeddings": tied}
    raise invalid(
        "model.source", "a config for torchtune", "a Llama, Mistral or Qwen2 model as its builders make them", kind
    )


def _tokenizer(facts: Facts, folder: Path) -> dict[str, Any]:
    limit = {"max_seq_len": facts.tuned.data.token_limit}
    kind = facts.setup.model.model_type
    if kind == "qwen2":
        files = {"path": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}
        return {"_component_": "torchtune.models.qwen2.qwen2_tokenizer", **files, **limit}
    if kind == "mistral":
        path = str(folder / "tokenizer.model")
        return {"_component_": "torchtune.models.mistral.mistral_tokenizer", "path": path, **limit}
    path = str(folder / "original" / "tokenizer.model")
    if not Path(path).exists() and (folder / "tokenizer.model").is_file():  # a Llama of before the third
        path = str(folder / "tokenizer.model")
        return {"_component_": "torchtune.models.llama2.llama2_tokenizer", "path": path, **limit}
    return {"_component_": "torchtune.models.llama3.llama3_tokenizer", "path": path, **limit}


def _source(facts: Facts) -> dict[str, Any]:
    source = place(facts)
    where: dict[str, Any] = (
        {"source": source.loader, "data_files": source.path} if source.loader else {"source": source.path}
    )
    return {**where, **({"name": source.subset} if source.subset else {}), "split": "train"}


def _dialogue(facts: Facts) -> dict[str, Any]:
    columns = facts.tuned.data.columns
    if "messages" in columns:
        return {
            "_component_": "torchtune.datasets.chat_dataset",
            **_source(facts),
            "conversation_column": columns["messages"],
            "conversation_style": "sharegpt" if is_sharegpt(facts) else "openai",
        }
    names = {"input": columns["prompt"], "output": columns["completion"]}
    return {"_component_": "torchtune.datasets.instruct_dataset", **_source(facts), "column_map": names}


def _unsupported(facts: Facts) -> list[str]:
    tuned = facts.tuned
    found = [*facts.left_over(_ADAPTER.values()), *facts.epochs_left(), *facts.input_left()]
    found += chats_left(facts, {OPENAI: SPEAKERS, SHAREGPT: HUMANS})
    leaves = {name.rpartition(".")[2] for name in facts.modules}
    layers = {match[1] for name in facts.modules if (match := re.search(r"\.(\d+)\.", name))}
    if len(layers) < facts.setup.model.layers:
        found.append(f"The layers {tuned.candidate.layers!r} are not expressed: all layers get adapters.")
    if leaves & _MLP and not leaves >= _MLP:
        found.append(f"Only {', '.join(sorted(leaves & _MLP))} of the feed-forward part: the tool takes all or none.")
    if tuned.candidate.optimizer != "adamw":
        found.append(f"The optimizer {tuned.candidate.optimizer!r} is not expressed: AdamW stands for it.")
    if tuned.candidate.dtype == "float16":
        found.append("The dtype 'float16' is not expressed: bf16 stands for it.")
    if tuned.candidate.dtype != "float32":
        found.append("The adapter, its gradients and the moments of AdamW are held in bf16 too, not in float32.")
    if facts.quantization and not facts.quantization["bnb_4bit_use_double_quant"]:
        found.append(
            f"The scales of {tuned.candidate.quantization!r} are not as they were: the tool quantizes them too."
        )
    if tuned.candidate.schedule != "cosine":
        found.append(f"The schedule {tuned.candidate.schedule!r} is not expressed: the tool has a cosine alone.")
    found += [
        "The tokenizer reads the files that the model's makers publish, not tokenizer.json.",
    ]
    return [*found, *facts.differences()]


TARGET = Target(
    name="torchtune",
    title="torchtune",
    file="config.yaml",
    schema="0.6.1",
    run="tune run lora_finetune_single_device --config FILE",
    render=_render,
)
