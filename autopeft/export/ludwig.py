"""Ludwig: its YAML config for fine-tuning a language model."""

from typing import Any

from autopeft.errors import invalid
from autopeft.export._data import place, subset_left
from autopeft.export._declaration import Exported, Target
from autopeft.export._facts import LOW_RANK, Facts
from autopeft.files import to_yaml

_DECAYS = {"linear": "linear"}
"""Its name for each schedule; without one the rate stays after the warm-up. Its cosine begins anew every epoch."""


_ADAPTER = {
    "r": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "use_rslora": "use_rslora", "use_dora": "use_dora",
}  # fmt: skip


def _render(facts: Facts) -> Exported:
    facts.require_decoder_with(LOW_RANK, full=True)
    tuned, chosen, columns = facts.tuned, facts.tuned.candidate, facts.tuned.data.columns
    if "prompt" not in columns:
        raise invalid("data.columns", "a config for Ludwig", "prompt and completion", ", ".join(columns))
    content: dict[str, Any] = {
        "model_type": "llm",
        "base_model": tuned.model.source,
        "input_features": [{"name": columns["prompt"], "type": "text"}],
        "output_features": [{"name": columns["completion"], "type": "text"}],
        **_adapter(facts),
        **_quantization(facts),
        "preprocessing": {"global_max_sequence_length": tuned.data.token_limit or 512},
        "trainer": {
            "type": "finetune",
            "learning_rate": chosen.learning_rate,
            "batch_size": chosen.batch_size,
            "gradient_accumulation_steps": chosen.accumulation,
            "epochs": facts.whole_epochs,
            "enable_gradient_checkpointing": chosen.gradient_checkpointing,
            "optimizer": {"type": _optimizer(facts), "weight_decay": tuned.training.weight_decay},
            "gradient_clipping": {"clipglobalnorm": tuned.training.max_gradient_norm},
            "learning_rate_scheduler": {
                "decay": _DECAYS.get(chosen.schedule),
                "warmup_fraction": tuned.training.warmup_share,
            },
        },
        "backend": {"type": "local"},
    }
    return Exported(text=to_yaml(content), unsupported=tuple(_unsupported(facts)))


def _adapter(facts: Facts) -> dict[str, Any]:
    if facts.full:
        return {}
    return {
        "adapter": {
            "type": facts.peft_type.lower(),
            **facts.named(_ADAPTER),
            "target_modules": list(facts.targets),
        }
    }


def _quantization(facts: Facts) -> dict[str, Any]:
    if facts.bits != 4:
        return {"quantization": {"bits": facts.bits}} if facts.bits else {}
    return {
        "quantization": {
            "bits": 4,
            "bnb_4bit_compute_dtype": facts.tuned.candidate.dtype,
            "bnb_4bit_use_double_quant": facts.quantization["bnb_4bit_use_double_quant"],
            "bnb_4bit_quant_type": facts.quantization["bnb_4bit_quant_type"],
        }
    }


def _optimizer(facts: Facts) -> str:
    names = {"adamw_8bit": "adamw_8bit", "paged_adamw_8bit": "paged_adamw_8bit"}
    return names.get(facts.tuned.candidate.optimizer, "adamw")


def _unsupported(facts: Facts) -> list[str]:
    tuned = facts.tuned
    found = [*subset_left(facts), *facts.left_over(_ADAPTER.values()), *facts.epochs_left(), *facts.input_left()]
    if _optimizer(facts) == "adamw" != tuned.candidate.optimizer:
        found.append(f"The optimizer {tuned.candidate.optimizer!r} is not expressed: adamw stands for it.")
    if tuned.candidate.schedule not in (*_DECAYS, "constant"):
        found.append(f"The schedule {tuned.candidate.schedule!r} is not expressed: the learning rate stays constant.")
    if tuned.candidate.dtype != "float32" and not facts.quantization:
        found.append(f"The dtype {tuned.candidate.dtype!r} is not expressed.")
    found.append(
        "The data and the seed are named on the command line: ludwig train --config FILE "
        f"--dataset {place(facts).path} --random_seed {tuned.training.seed}."
    )
    return [*found, *facts.differences()]


TARGET = Target(
    name="ludwig",
    title="Ludwig",
    file="config.yaml",
    schema="0.11",
    run="ludwig train --config FILE --dataset DATA",
    render=_render,
)
