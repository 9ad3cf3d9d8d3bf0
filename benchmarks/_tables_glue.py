"""Tables on GLUE and on table-to-text, mostly of encoders."""

from collections.abc import Iterator
from dataclasses import replace

from autopeft.values.evidence import Run, RunModel, RunTask
from autopeft.values.names import ModelKind, ParameterValue
from benchmarks._tables import GLUE_TASKS, MILLION, UNLICENSED, Table, glue, rows, run

LORA = Table(
    source="https://github.com/microsoft/LoRA/blob/main/README.md (Hu et al., arXiv 2106.09685)",
    licence="MIT", date="2023-02-01", interested=True,
)  # fmt: skip
ADAKRON = Table(
    source="https://github.com/DetectiveMB/AdaKron/blob/main/README.md (Braga et al., LREC-COLING 2024)",
    licence="Apache-2.0", date="2025-08-11", interested=True, label="AdaKron",
)  # fmt: skip
BIASES = Table(
    source="https://github.com/RodionfromHSE/bitfit_nlp_cub/blob/main/presentation.md",
    licence=UNLICENSED, date="2025-12-22", interested=False, label="bitfit_nlp_cub",
)  # fmt: skip
TINY = Table(
    source="https://github.com/yu-chern/LLM-Adapter-GLUE-Benchmark/blob/main/benchmark%20results.xlsx",
    licence=UNLICENSED, date="2025-10-20", interested=False, label="LLM-Adapter-GLUE-Benchmark",
)  # fmt: skip

GLUE = """
roberta-base       full 125  87.6 94.8 90.2 63.6 92.8 91.9 78.7 91.2
roberta-base       lora 0.8  87.5 95.1 89.7 63.4 93.3 90.8 86.6 91.5
deberta-v2-xxlarge full 1500 91.7 97.2 92.0 72.0 96.0 92.7 93.9 92.9
deberta-v2-xxlarge lora 4.7  91.9 96.9 92.6 72.4 96.0 92.9 94.9 93.0
"""

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

ADAKRON_TASKS = ("MNLI", "QNLI", "SST-2", "QQP", "MRPC", "CoLA", "RTE", "STS-B")
ADAKRON_SCORES = """
full             110  83.2 90.0 91.6 87.4 90.9 62.1 66.4 89.8
compacter        1.3  81.6 89.2 87.9 85.1 88.7 58.7 59.8 86.3
houlsby_adapter  0.9  83.1 90.6 91.9 86.8 89.9 61.5 71.8 88.6
lora             0.3  82.5 89.9 91.5 86.0 90.0 60.5 71.5 85.7
prefix_tuning    0.2  81.2 90.4 90.9 83.3 91.3 55.4 76.9 87.2
bitfit           0.1  81.4 90.2 92.1 84.0 90.4 58.8 72.3 89.2
vera             0.04 83.1 90.5 92.3 85.9 89.9 59.0 61.0 86.8
pfeiffer_adapter 0.9  83.3 91.1 92.0 87.5 90.7 60.3 67.6 89.6
"""
"""Method, trained millions, scores of BERT-base on each of `ADAKRON_TASKS`."""

BIAS_TASKS = {"SST-2": "accuracy", "MRPC": "f1", "RTE": "accuracy"}
BIAS_SCORES = """
full          109483778 92.09 90.02 67.51
lora          296450    92.20 88.32 61.01
bitfit        104450    90.60 88.01 61.37
prompt_tuning 16898     88.19 81.79 57.40
"""
"""Method, trained parameters, scores of BERT-base on each of `BIAS_TASKS`."""
BIAS_PARAMETERS: dict[str, dict[str, ParameterValue]] = {
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.1}, "prompt_tuning": {"virtual_tokens": 20},
}  # fmt: skip

TINY_TASKS = ("SST-2", "QNLI", "QQP", "MNLI")
TINY_SCORES = """
prompt_tuning -       68.69 67.12 69.69 40.47
prefix_tuning 10240   74.77 65.29 73.78 35.36
lora          8450    76.03 57.68 75.58 31.83
ia3           2690    76.15 75.95 73.63 54.08
full          4386178 81.19 76.42 82.44 62.72
"""
"""Method, trained parameters of two labels, accuracy in percent of the smallest BERT, trained without privacy."""


def glue_runs() -> Iterator[Run]:
    """Yields LoRA against full fine-tuning on GLUE; the latter's figures are older papers'."""
    for name, method, millions, *scores in rows(GLUE):
        base = name == "roberta-base"
        model = RunModel(
            name=name, kind="encoder", model_type="roberta" if base else "deberta-v2",
            parameters=(125 if base else 1500) * MILLION,
        )  # fmt: skip
        for (task_name, (_, metric)), score in zip(GLUE_TASKS.items(), scores, strict=True):
            made = run(LORA, model, glue(task_name), method, method, score, metric=metric)
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


def adakron_runs() -> Iterator[Run]:
    """Yields eight known methods on GLUE by the authors of a ninth."""
    model = RunModel(name="bert-base", kind="encoder", model_type="bert", parameters=110 * MILLION)
    for method, millions, *scores in rows(ADAKRON_SCORES):
        for name, score in zip(ADAKRON_TASKS, scores, strict=True):
            made = run(ADAKRON, model, glue(name), method, method, score, metric=GLUE_TASKS[name][1])
            yield replace(
                made, trainable_parameters=round(float(millions) * MILLION),
                notes=("Sizes are rounded by the source.",),
            )  # fmt: skip


def bias_runs() -> Iterator[Run]:
    """Yields four methods on three tasks, three epochs each."""
    model = RunModel(name="bert-base-uncased", kind="encoder", model_type="bert", parameters=109_483_778)
    for method, trained, *scores in rows(BIAS_SCORES):
        for (name, metric), score in zip(BIAS_TASKS.items(), scores, strict=True):
            yield replace(
                run(BIASES, model, glue(name), method, method, score, metric=metric), batch_size=16, seed=42,
                parameters=BIAS_PARAMETERS.get(method, {}), targets="qv" if method == "lora" else "",
                optimizer="adamw", trainable_parameters=int(trained),
            )  # fmt: skip


def tiny_runs() -> Iterator[Run]:
    """Yields five methods on a model of two layers; the settings beside the table may be newer, and stay out."""
    model = RunModel(name="bert-tiny", kind="encoder", model_type="bert", parameters=4_386_178)
    for method, trained, *scores in rows(TINY_SCORES):
        for name, score in zip(TINY_TASKS, scores, strict=True):
            known = int(trained) if trained != "-" and name != "MNLI" else None
            yield replace(run(TINY, model, glue(name), method, method, score), trainable_parameters=known)
