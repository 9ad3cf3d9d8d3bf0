"""What a full training leaves, as it stands in ``metrics.json``."""

from collections.abc import Mapping
from dataclasses import dataclass

from autopeft.values.names import Task
from autopeft.values.outcomes import Forgetting, Latency, Score

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The deciding metric on one split before and after training, with intervals, and the other metrics after."""

    before: Score
    after: Score
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a classifier's scores become probabilities: its logits are divided by the temperature.

    Attributes:
        error_before: expected calibration error on the validation rows at temperature 1, ten bins of equal width.
        error_after: the same at the fitted temperature, on the rows it was fitted on.
    """

    temperature: float
    error_before: float
    error_after: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What a forward pass over a few test rows takes, before training and after.

    Attributes:
        base_milliseconds: of the base with nothing attached, per batch.
        latency: after training, of the same batch.
        base_peak_bytes: memory it takes: weights and all that lives beside them; on a CPU the whole process's. None
            where the device does not tell.
        peak_bytes: the same with the method attached.
    """

    base_milliseconds: float
    latency: Latency
    base_peak_bytes: int | None
    peak_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class SecondTask:
    """How a model does on the test rows of other data, before training and after."""

    source: str
    task: Task
    before: Score
    after: Score


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What training was estimated to take, before it began.

    Attributes:
        device: that it was estimated for: this machine's.
        peak_bytes: of the longest batch, context included; on a CPU without the interpreter and its libraries.
        step_seconds: of an optimizer step on rows of mean length; None where the device's speed is not known.
    """

    device: str
    kind: str
    peak_bytes: int
    step_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a full training came to.

    Attributes:
        steps: optimizer steps taken.
        kept_step: the step whose weights were kept: that of the lowest validation loss, or the last.
        stopped_early: whether the validation loss had stopped falling before the planned end.
        seconds: of training and its readings, over all resumed parts; evaluation before and after not counted.
        peak_bytes: highest memory while training, None where the device does not tell.
        step_seconds: median of the optimizer steps since the last start, readings not counted; None without a step.
        prediction_seconds_per_row: measured on the test split after training, in batches.
        calibration: None for tasks without classes.
        merged: whether ``merged/`` holds the base with the update folded in.
        adapter_bytes: of the trained values on disk, the task head included.
        expected: what `seconds` and `peak_bytes` were estimated at.
        forgetting: on general text; None where training left no finite number there.
        also: what became of other data that was named.
    """

    schema_version: int
    autopeft_version: str
    validation: Evaluation
    test: Evaluation
    steps: int
    kept_step: int
    stopped_early: bool
    seconds: float
    peak_bytes: int | None
    prediction_seconds_per_row: float
    trainable_parameters: int
    calibration: Calibration | None
    merged: bool
    output: str
    step_seconds: float | None = None
    adapter_bytes: int | None = None
    expected: Expected | None = None
    inference: Inference | None = None
    forgetting: Forgetting | None = None
    also: tuple[SecondTask, ...] = ()
    notes: tuple[str, ...] = ()
