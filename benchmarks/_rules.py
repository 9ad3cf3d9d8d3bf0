"""What the rules alone say of a measured run: the sum of the weights that fire."""

import json
import tempfile
from functools import cache
from pathlib import Path

from autopeft.estimation import estimate
from autopeft.methods import Method, get_method
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.recommend.needs import task_needs
from autopeft.recommend.rules import reasons_for
from autopeft.recommend.setting import Case, Setting, plan_setup
from autopeft.values.candidates import Candidate, Constraints
from autopeft.values.evidence import Run
from autopeft.values.names import Task
from autopeft.values.profiles import HardwareProfile, ModelProfile, TaskProfile, TokenLengths
from benchmarks._gains import OWN, Row
from benchmarks._shapes import CONFIGS

ROWS, TOKENS_PER_ROW = 20_000, 200.0
"""Of a task whose source does not say."""


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
    """Returns the rules' score of a run; None where the model's shape is not known, or the method refuses the run.

    What of a configuration its source does not say is taken to be as the method is first tried.
    """
    run, method = row.run, get_method(row.method)
    if run.model.name not in CONFIGS:
        return None
    setting = _setting(run, cpu=row.origin == OWN)
    candidate = _candidate(run, method, setting)
    setup = plan_setup(setting, candidate)
    if method.violations(setup):
        return None
    cost = estimate(setup, tokens_per_row=setting.tokens_per_row, hardware=setting.hardware)
    case = Case(method=method, candidate=candidate, estimate=cost, setting=setting)
    return sum(reason.weight for reason in reasons_for(case))


def _setting(run: Run, *, cpu: bool) -> Setting:
    asked = _asked(run)
    labels = tuple(str(place) for place in range(run.task.labels))
    mean = run.task.tokens_per_row or TOKENS_PER_ROW
    task = TaskProfile(
        task=asked, source="described", rows={"train": run.task.rows or ROWS}, labels=labels,
        tokens=TokenLengths(p50=round(mean), p95=round(2 * mean), longest=round(2 * mean), mean=mean),
        label_counts=dict.fromkeys(labels, 100), language=run.task.language,
    )  # fmt: skip
    return Setting(
        hardware=_hardware(cpu=cpu),
        model=_model(run.model.name, asked, run.task.labels), task=task, needs=task_needs(asked),
        constraints=Constraints(),
    )  # fmt: skip


def _candidate(run: Run, method: Method, setting: Setting) -> Candidate:
    usual = method.seeds[0]
    return Candidate(
        method=method.name, parameters={**usual.parameters, **run.parameters}, targets=run.targets or usual.targets,
        layers=run.layers, quantization=run.quantization, dtype=setting.hardware.dtype,
        optimizer=run.optimizer or "adamw", learning_rate=run.learning_rate or usual.learning_rate,
        batch_size=run.batch_size or 16,
    )  # fmt: skip
