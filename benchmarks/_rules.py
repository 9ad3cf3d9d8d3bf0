"""What the rules alone say of a measured run: the sum of the weights that fire."""

import json
import tempfile
from functools import cache
from pathlib import Path

from autopeft.estimation import estimate
from autopeft.methods import get_method
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.recommend.needs import task_needs
from autopeft.recommend.rules import reasons_for
from autopeft.recommend.setting import Case, Setting, plan_setup
from autopeft.values.candidates import Candidate, Constraints
from autopeft.values.evidence import Run
from autopeft.values.names import Task
from autopeft.values.profiles import HardwareProfile, ModelProfile, TaskProfile, TokenLengths
from benchmarks._gains import Row


def _llama(hidden: int, forward: int, layers: int, heads: int, key_value: int, vocabulary: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": forward, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": key_value, "vocab_size": vocabulary, "max_position_embeddings": 4096,
    }  # fmt: skip


def _minilm(layers: int) -> dict[str, object]:
    return {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 384, "intermediate_size": 1536,
        "num_hidden_layers": layers, "num_attention_heads": 12, "vocab_size": 30522, "max_position_embeddings": 512,
    }  # fmt: skip


CONFIGS = {
    "meta-llama/Llama-3.2-3B": {**_llama(3072, 8192, 28, 24, 8, 128_256), "tie_word_embeddings": True},
    "LLaMA-7B": _llama(4096, 11008, 32, 32, 32, 32_000),
    "LLaMA2-7B": _llama(4096, 11008, 32, 32, 32, 32_000),
    "LLaMA-13B": _llama(5120, 13824, 40, 40, 40, 32_000),
    "LLaMA3-8B": _llama(4096, 14336, 32, 32, 8, 128_256),
    **{f"minilm-{layers}": _minilm(layers) for layers in (2, 4, 6)},
}
"""Configs of the models in the evidence whose shapes are public and plain; the rules are asked about no others."""


@cache
def _model(name: str, task: Task, labels: int) -> ModelProfile:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(CONFIGS[name]), encoding="utf-8")
        return read_model(folder, task, max(1, labels))


@cache
def _hardware(*, cpu: bool) -> HardwareProfile:
    return probe_hardware() if cpu else probe_hardware(gpu="a100-80gb")


def _asked(run: Run) -> Task:
    """Returns the task that the rules are asked about: a decoder that chooses writes its answer."""
    chooses = run.task.task == "multiple-choice" and run.model.kind == "decoder"
    return "instruction" if chooses else run.task.task


def score(row: Row) -> float | None:
    """Returns the rules' score of a run; None where they cannot be asked: a shape or a parameter is not known."""
    run = row.run
    method = get_method(row.method)
    if run.model.name not in CONFIGS or set(method.legal) - set(run.parameters):
        return None
    labels = tuple(str(place) for place in range(run.task.labels))
    mean = run.task.tokens_per_row or 200.0
    task = TaskProfile(
        task=_asked(run), source="described", rows={"train": run.task.rows or 20_000},
        tokens=TokenLengths(p50=round(mean), p95=round(2 * mean), longest=round(2 * mean), mean=mean), labels=labels,
        label_counts=dict.fromkeys(labels, 100), language=run.task.language,
    )  # fmt: skip
    setting = Setting(
        hardware=_hardware(cpu=run.model.name.startswith("minilm")),
        model=_model(run.model.name, task.task, run.task.labels), task=task, needs=task_needs(task.task),
        constraints=Constraints(),
    )  # fmt: skip
    candidate = Candidate(
        method=row.method, parameters=run.parameters, targets=run.targets or "all-linear", layers=run.layers,
        quantization=run.quantization, dtype=setting.hardware.dtype, optimizer=run.optimizer or "adamw",
        learning_rate=run.learning_rate or method.seeds[0].learning_rate, batch_size=run.batch_size or 16,
    )  # fmt: skip
    setup = plan_setup(setting, candidate)
    if method.violations(setup):
        return None
    cost = estimate(setup, tokens_per_row=setting.tokens_per_row, hardware=setting.hardware)
    case = Case(method=method, candidate=candidate, estimate=cost, setting=setting)
    return sum(reason.weight for reason in reasons_for(case))
