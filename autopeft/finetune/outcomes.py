"""What a full training leaves, as it stands in ``metrics.json``."""

from collections.abc import Mapping
from dataclasses import dataclass

from autopeft.values.outcomes import Score

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
class Trained:
    """What a full training came to.

    Attributes:
        steps: optimizer steps taken.
        kept_step: the step whose weights were kept: that of the lowest validation loss, or the last.
        stopped_early: whether the validation loss had stopped falling before the planned end.
        seconds: of training and its readings, over all resumed parts; evaluation before and after not counted.
        peak_bytes: highest memory while training, None where the device does not tell.
        prediction_seconds_per_row: measured on the test split after training, in batches.
        calibration: None for tasks without classes.
        merged: whether ``merged/`` holds the base with the update folded in.
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
    notes: tuple[str, ...] = ()
