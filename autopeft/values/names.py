"""The words that commands, files and code share, each written once."""

from typing import Literal, get_args

Task = Literal[
    "classification",
    "regression",
    "pair-classification",
    "token-classification",
    "multiple-choice",
    "generation",
    "instruction",
    "reasoning",
    "seq2seq",
]
TASKS: tuple[Task, ...] = get_args(Task)
LANGUAGE_TASKS: tuple[Task, ...] = ("generation", "instruction", "reasoning", "seq2seq")
"""Those whose loss is taken over the vocabulary at every position."""

ModelKind = Literal["encoder", "decoder", "seq2seq"]
MODEL_KINDS: tuple[ModelKind, ...] = get_args(ModelKind)

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
DTYPE_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}

Role = Literal[
    "query", "key", "value", "qkv", "output", "up", "gate", "gate_up", "down",
    "embedding", "norm", "head", "other",
]  # fmt: skip

Status = Literal["completed", "pruned", "infeasible", "out_of_memory", "diverged", "timed_out", "worker_lost"]
STATUSES: tuple[Status, ...] = get_args(Status)

Criterion = Literal["quality", "memory", "time", "forgetting", "latency"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

EstimateSource = Literal["formula", "trace"]

Strategy = Literal["none", "ddp", "fsdp"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

ForgettingMeasure = Literal["perplexity", "masked_lm_loss", "representation_drift"]

ParameterValue = bool | int | float | str
