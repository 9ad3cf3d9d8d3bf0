"""Tables of language models that answer questions: arithmetic, commonsense, quantum computing."""

from collections.abc import Iterator
from dataclasses import replace

from autopeft.values.evidence import Run, RunModel, RunTask
from autopeft.values.names import ParameterValue
from benchmarks._tables import MILLION, Table, rows, run, share

ADAPTERS = Table(
    source="https://github.com/AGI-Edgerunners/LLM-Adapters/blob/main/README.md (Hu et al., arXiv 2304.01933)",
    licence="Apache-2.0", date="2023-04-21", interested=False, device="2 × NVIDIA RTX 3090",
)  # fmt: skip
DORA = Table(
    source="https://github.com/NVlabs/DoRA/blob/main/commonsense_reasoning/README.md (Liu et al., arXiv 2402.09353)",
    licence="figures quoted; page Apache-2.0, repository NVIDIA Source Code License-NC", date="2024-04-18",
    interested=True,
)  # fmt: skip
SUBSPACE = Table(
    source="https://github.com/Chongjie-Si/Subspace-Tuning/blob/main/Fair_Comparison/README.md "
    "(Si et al., arXiv 2407.05417)",
    licence="Apache-2.0", date="2025-06-26", interested=True, label="Subspace-Tuning",
)  # fmt: skip
LOFTQ = Table(
    source="https://github.com/yxli2123/LoftQ/blob/main/README.md (Li et al., arXiv 2310.08659)",
    licence="MIT", date="2024-04-20", interested=True, label="LoftQ",
)  # fmt: skip
SWIFT = Table(
    source="https://github.com/modelscope/ms-swift/blob/46922151e06cdfc110882e182757674f12352f2c/docs/source_en/LLM/"
    "Benchmark.md",
    licence="Apache-2.0", date="2024-05-08", interested=False, label="swift", device="NVIDIA A100",
)  # fmt: skip
QUANTUM = Table(
    source="https://github.com/samuellimabraz/quantum-assistant/blob/35b5b00/docs/finetune.md",
    licence="Apache-2.0", date="2025-12-11", interested=False, label="quantum-assistant",
    device="NVIDIA RTX PRO 6000 Blackwell",
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
PER_RANK = {"LLaMA-7B": 1_753_088, "LLaMA2-7B": 1_753_088, "LLaMA3-8B": 1_769_472}
MAGNITUDES = {"LLaMA-7B": 876_544, "LLaMA2-7B": 876_544, "LLaMA3-8B": 786_432}
"""What a rank and DoRA's magnitudes train on query, key, value, up and down, where the page's commands put them: at
rank 32 that is the 0.83 and 0.70 % that the paper states."""

SUBSPACE_MEANS = """
LLaMA-7B  full             -  100  81.4
LLaMA-7B  prefix_tuning    -  0.11 64.6
LLaMA-7B  houlsby_adapter  -  0.99 70.8
LLaMA-7B  parallel_adapter -  3.54 72.2
LLaMA-7B  adalora          4  0.10 66.5
LLaMA-7B  lora             32 0.83 74.7
LLaMA-7B  adalora          32 0.83 75.5
LLaMA3-8B lora             16 0.35 82.8
LLaMA3-8B adalora          16 0.35 81.4
LLaMA3-8B lora             32 0.70 80.8
LLaMA3-8B pissa            32 0.70 75.4
"""
"""Model, method, rank, trained percent of the model, mean accuracy over eight tasks. Left out: what is in DoRA's own
table, LoRA's 80.8 but for the reference; per task the page's columns do not agree from row to row, their means do."""

SUBSPACE_WORDS = {"prefix_tuning": "Prefix", "houlsby_adapter": "Series", "parallel_adapter": "Parallel"}

GSM8K = """
Phi-2      full  none 66.8
Phi-2      lora  none 64.8
Phi-2      lora  nf4  60.2
Phi-2      loftq nf4  64.1
LLAMA-3-8B full  none 70.4
LLAMA-3-8B lora  none 69.3
LLAMA-3-8B lora  nf4  67.4
LLAMA-3-8B loftq nf4  68.0
"""
"""Model, method, codes, accuracy in percent; rank 64 where there is a rank."""

SWIFT_LOSSES = """
full    -         7721.3245 0.95
lora    adamw     17.8913   1.01
lora    lora_plus 17.8913   0.98
dora    adamw     19.2512   1.01
rslora  adamw     17.8913   0.99
adalora adamw     26.8389   1.07
"""
"""Method, optimizer, trained millions, loss on held-out rows."""

QUANTUM_LOSSES = """
lora   0.6455
rslora 0.6217
dora   0.6217
pissa  0.6573
olora  0.7416
"""
"""Method, loss on held-out rows after the only epoch. The page's later ranks change decay and dropout too and stay out,
as does its run with a frozen projection of images."""


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
            trainable_parameters=PER_RANK[name] * int(rank) + (MAGNITUDES[name] if method == "dora" else 0),
            reference=method == "lora" and rank == "32",
        )  # fmt: skip


def subspace_runs() -> Iterator[Run]:
    """Yields commonsense figures that the authors of LoRA-Dash verified; the reference is rank 32, as in DoRA's."""
    for name, method, rank, percent, score in rows(SUBSPACE_MEANS):
        parameters = (8 if "8B" in name else 7) * 1000 * MILLION
        model = RunModel(name=name, kind="decoder", model_type="llama", parameters=parameters)
        task = RunTask(name="commonsense_170k, mean of eight tasks", task="multiple-choice", language="en")
        ranked: dict[str, ParameterValue] = {} if rank == "-" else {"rank": int(rank)}
        original = SUBSPACE_WORDS.get(method, method)
        yield replace(
            run(SUBSPACE, model, task, method, original, score, suffix=f" rank {rank}" if ranked else ""),
            parameters=ranked, trainable_parameters=share(float(percent), parameters),
            reference=method == "lora" and rank == "32", notes=("Shares are rounded by the source.",),
        )  # fmt: skip


def loftq_runs() -> Iterator[Run]:
    """Yields fine-tuning on GSM8K with and without 4-bit codes."""
    for name, method, codes, score in rows(GSM8K):
        phi = name == "Phi-2"
        model = RunModel(
            name=name, kind="decoder", model_type="phi" if phi else "llama", parameters=None if phi else 8000 * MILLION
        )
        task = RunTask(name="GSM8K", task="reasoning", language="en")
        original = "qlora" if (method, codes) == ("lora", "nf4") else method
        ranked: dict[str, ParameterValue] = {} if method == "full" else {"rank": 64}
        yield replace(
            run(LOFTQ, model, task, method, original, score), parameters=ranked, quantization=codes,
            reference=original == "lora",
        )  # fmt: skip


def swift_runs() -> Iterator[Run]:
    """Yields losses on a mixture of two data sets, two epochs; the page tells of no test with repeats."""
    model = RunModel(name="qwen-7b-chat", kind="decoder", model_type="qwen", parameters=7_721_324_500)
    task = RunTask(name="ms-agent and ms-bench", task="instruction")
    for method, optimizer, millions, loss in rows(SWIFT_LOSSES):
        plain = optimizer != "lora_plus"
        original = method if plain else "lora+"
        shaped: dict[str, ParameterValue] = {} if method == "full" else {"rank": 8, "alpha": 32}
        yield replace(
            run(SWIFT, model, task, method, original, loss, metric="validation_loss"), parameters=shaped,
            targets="all-linear" if shaped else "", optimizer="" if optimizer == "-" else optimizer,
            learning_rate=5e-5, trainable_parameters=round(float(millions) * MILLION),
            reference=method == "lora" and plain,
        )  # fmt: skip


def quantum_runs() -> Iterator[Run]:
    """Yields losses of a model that reads circuits too; its projection of images trains beside every method."""
    model = RunModel(name="Qwen3-VL-8B-Instruct", kind="decoder", model_type="qwen3_vl", parameters=8000 * MILLION)
    task = RunTask(name="Quantum Assistant", task="instruction", rows=5837, language="en")
    for method, loss in rows(QUANTUM_LOSSES):
        unmapped: dict[str, ParameterValue] = {} if method in ("lora", "rslora") else {"use_rslora": True}
        yield replace(
            run(QUANTUM, model, task, method, method, loss, metric="validation_loss"),
            parameters={"rank": 16, "alpha": 32, "dropout": 0.05}, unmapped=unmapped, targets="all-linear",
            dtype="bfloat16", optimizer="adamw", learning_rate=2e-4, batch_size=32, steps=183,
        )  # fmt: skip
