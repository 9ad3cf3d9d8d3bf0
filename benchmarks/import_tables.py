"""Writes tables that authors publish beside their code as evidence.

    python benchmarks/import_tables.py profiles/evidence

Each figure was read from the page that its row names. What a page does not state stays out of the row: learning rates
above all. Papers whose figures stand in plots alone are not here.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from autopeft.files import write_text
from autopeft.recommend.evidence import to_line
from autopeft.values.evidence import Run, RunModel, RunQuality, RunTask
from autopeft.values.names import ModelKind, ParameterValue, Task

MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Table:
    """What the rows of a page share."""

    source: str
    licence: str
    date: str
    interested: bool
    device: str = "not stated"


ADAPTERS = Table(
    source="https://github.com/AGI-Edgerunners/LLM-Adapters/blob/main/README.md (Hu et al., arXiv 2304.01933)",
    licence="Apache-2.0", date="2023-04-21", interested=False, device="2 × NVIDIA RTX 3090",
)  # fmt: skip
DORA = Table(
    source="https://github.com/NVlabs/DoRA/blob/main/commonsense_reasoning/README.md (Liu et al., arXiv 2402.09353)",
    licence="figures quoted; page Apache-2.0, repository NVIDIA Source Code License-NC", date="2024-04-18",
    interested=True,
)  # fmt: skip
LORA = Table(
    source="https://github.com/microsoft/LoRA/blob/main/README.md (Hu et al., arXiv 2106.09685)",
    licence="MIT", date="2023-02-01", interested=True,
)  # fmt: skip

MATH_TASKS = ("MultiArith", "GSM8K", "AddSub", "AQuA", "SingleEq", "SVAMP")
MATH = """
LLaMA-13B LoRA     6.5 93.3 43.3 80.0 20.5 84.6 52.9
LLaMA-13B AdapterH 314 94.0 36.1 82.3 19.7 84.8 52.9
LLaMA-13B AdapterP 104 94.8 41.0 81.3 19.3 87.0 51.1
LLaMA-13B Parallel 314 95.0 43.8 84.6 20.9 88.0 53.5
LLaMA-7B  LoRA     4.2 88.3 30.9 78.5 14.2 74.8 47.2
LLaMA-7B  AdapterH 200 93.8 29.8 70.6 16.1 71.1 37.7
LLaMA-7B  AdapterP 66  91.0 30.2 75.7 14.9 75.4 43.3
LLaMA-7B  Parallel 200 93.7 33.3 80.5 16.5 81.7 46.5
BLOOM-7B  LoRA     4   73.0 9.9  41.8 16.9 40.7 25.1
BLOOM-7B  AdapterH 125 81.8 16.5 76.5 18.9 71.3 37.8
BLOOM-7B  AdapterP 62  87.7 18.0 69.6 20.9 68.3 32.1
BLOOM-7B  Parallel 125 78.2 15.7 65.4 20.5 64.2 35.1
GPT-j-6B  LoRA     3.7 80.5 17.4 74.9 18.1 72.2 43.8
GPT-j-6B  AdapterH 117 82.5 17.9 83.8 21.3 76.8 40.0
GPT-j-6B  AdapterP 58  90.3 19.1 80.7 18.5 81.3 41.3
GPT-j-6B  Parallel 176 77.8 17.5 77.2 20.5 74.8 39.8
"""
"""Model, method, trained millions, accuracy in percent on each of `MATH_TASKS`."""

MATH_MODELS = {
    "LLaMA-13B": ("llama", 13), "LLaMA-7B": ("llama", 7), "BLOOM-7B": ("bloom", 7), "GPT-j-6B": ("gptj", 6),
}  # fmt: skip
MATH_METHODS: dict[str, tuple[str, dict[str, ParameterValue]]] = {
    "LoRA": ("lora", {"rank": 8, "alpha": 16}),
    "AdapterH": ("houlsby_adapter", {"bottleneck": 256}),
    "AdapterP": ("pfeiffer_adapter", {"bottleneck": 256}),
    "Parallel": ("parallel_adapter", {"bottleneck": 256}),
}

COMMONSENSE = """
LLaMA-7B  lora 4  3e-4 39.5
LLaMA-7B  lora 8  3e-4 40.7
LLaMA-7B  lora 16 3e-4 70.9
LLaMA-7B  lora 32 3e-4 76.3
LLaMA-7B  lora 64 3e-4 65.8
LLaMA-7B  dora 4  2e-4 61.9
LLaMA-7B  dora 8  2e-4 77.9
LLaMA-7B  dora 16 2e-4 77.5
LLaMA-7B  dora 32 1e-4 78.4
LLaMA-7B  dora 64 2e-4 76.8
LLaMA2-7B lora 32 3e-4 77.6
LLaMA2-7B dora 16 2e-4 80.5
LLaMA2-7B dora 32 2e-4 79.7
LLaMA3-8B lora 32 3e-4 80.8
LLaMA3-8B dora 16 1e-4 85.0
LLaMA3-8B dora 32 1e-4 85.2
"""
"""Model, method, rank, learning rate, mean accuracy in percent over eight tasks."""

GLUE_TASKS: dict[str, tuple[Task, str]] = {
    "MNLI": ("pair-classification", "accuracy"), "SST-2": ("classification", "accuracy"),
    "MRPC": ("pair-classification", "accuracy"), "CoLA": ("classification", "mcc"),
    "QNLI": ("pair-classification", "accuracy"), "QQP": ("pair-classification", "accuracy"),
    "RTE": ("pair-classification", "accuracy"), "STS-B": ("regression", "pearson"),
}  # fmt: skip
GLUE = """
roberta-base       full 125  87.6 94.8 90.2 63.6 92.8 91.9 78.7 91.2
roberta-base       lora 0.8  87.5 95.1 89.7 63.4 93.3 90.8 86.6 91.5
deberta-v2-xxlarge full 1500 91.7 97.2 92.0 72.0 96.0 92.7 93.9 92.9
deberta-v2-xxlarge lora 4.7  91.9 96.9 92.6 72.4 96.0 92.9 94.9 93.0
"""
GLUE_LABELS = {"MNLI": 3, "STS-B": 0}

TEXT_TASKS = ("E2E", "DART")
TEXT = """
gpt2-medium full          354.92 68.2 46.0
gpt2-medium -             0.37   66.3 42.4
gpt2-medium prefix_tuning 0.35   69.7 45.7
gpt2-medium lora          0.35   70.4 47.1
gpt2-large  full          774.03 68.5 46.5
gpt2-large  -             0.88   69.1 45.7
gpt2-large  prefix_tuning 0.77   70.3 46.5
gpt2-large  lora          0.77   70.4 47.5
"""


def rows(text: str) -> list[list[str]]:
    """Returns a table's rows as words."""
    return [line.split() for line in text.strip().splitlines()]


def run(
    table: Table, model: RunModel, task: RunTask, method: str | None, original: str, percent: str, *,
    suffix: str = "", metric: str = "accuracy",
) -> Run:  # fmt: skip
    """Returns one figure of a table as a run."""
    setting = f"{model.name} {task.name}"
    return Run(
        name=f"{original} {setting}{suffix}", setting=setting, model=model, task=task, method=method,
        original=original, reference=method == "lora", interested=table.interested, status="completed",
        quality=RunQuality(
            metric=metric, value=round(float(percent) / 100, 6), share=metric not in ("mcc", "pearson"),
        ),
        device=table.device, date=table.date, source=table.source, licence=table.licence,
    )  # fmt: skip


def math_runs() -> Iterator[Run]:
    """Yields the arithmetic figures of LLM-Adapters."""
    for name, original, millions, *scores in rows(MATH):
        kind, billions = MATH_MODELS[name]
        model = RunModel(name=name, kind="decoder", model_type=kind, parameters=billions * 1000 * MILLION)
        method, parameters = MATH_METHODS[original]
        for task_name, score in zip(MATH_TASKS, scores, strict=True):
            task = RunTask(name=f"math_data, scored on {task_name}", task="reasoning", rows=3200, language="en")
            yield replace(
                run(ADAPTERS, model, task, method, original, score), parameters=parameters, batch_size=16,
                trainable_parameters=round(float(millions) * MILLION), sequence_limit=256,
                notes=("One training on a mixture, scored on each of its tasks.", "Sizes are rounded by the source."),
            )  # fmt: skip


def commonsense_runs() -> Iterator[Run]:
    """Yields the figures by rank of DoRA's authors; the reference is the rank that their comparison uses."""
    for name, method, rank, rate, score in rows(COMMONSENSE):
        model = RunModel(
            name=name, kind="decoder", model_type="llama", parameters=(8 if "8B" in name else 7) * 1000 * MILLION
        )
        task = RunTask(name="commonsense_170k, mean of eight tasks", task="multiple-choice", language="en")
        yield replace(
            run(DORA, model, task, method, method, score, suffix=f" rank {rank}"),
            parameters={"rank": int(rank), "alpha": 2 * int(rank)}, learning_rate=float(rate),
            reference=method == "lora" and rank == "32",
        )  # fmt: skip


def glue_runs() -> Iterator[Run]:
    """Yields LoRA against full fine-tuning on GLUE; the latter's figures are older papers'."""
    for name, method, millions, *scores in rows(GLUE):
        base = name == "roberta-base"
        model = RunModel(
            name=name, kind="encoder", model_type="roberta" if base else "deberta-v2",
            parameters=(125 if base else 1500) * MILLION,
        )  # fmt: skip
        for (task_name, (task, metric)), score in zip(GLUE_TASKS.items(), scores, strict=True):
            facts = RunTask(name=task_name, task=task, labels=GLUE_LABELS.get(task_name, 2), language="en")
            made = run(LORA, model, facts, method, method, score, metric=metric)
            note = "The figures of full fine-tuning are those of the model's own paper."
            yield replace(made, trainable_parameters=round(float(millions) * MILLION), notes=(note,))


def text_runs() -> Iterator[Run]:
    """Yields GPT-2 on table-to-text, by BLEU."""
    for name, method, millions, *scores in rows(TEXT):
        kind: ModelKind = "decoder"
        parameters = 355 if name == "gpt2-medium" else 774
        model = RunModel(name=name, kind=kind, model_type="gpt2", parameters=parameters * MILLION)
        for task_name, score in zip(TEXT_TASKS, scores, strict=True):
            task = RunTask(name=task_name, task="generation", language="en")
            known = None if method == "-" else method
            made = run(LORA, model, task, known, known or "adapter", score, metric="bleu")
            yield replace(made, trainable_parameters=round(float(millions) * MILLION))


def main(folder: str) -> None:
    """Writes one file for each source."""
    files = {
        "llm_adapters": math_runs(), "dora_commonsense": commonsense_runs(), "lora_glue": glue_runs(),
        "lora_gpt2": text_runs(),
    }  # fmt: skip
    for name, found in files.items():
        lines = [to_line(made) for made in found]
        write_text(Path(folder) / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
        print(f"{name}: {len(lines)} runs")


if __name__ == "__main__":
    main(*sys.argv[1:])
