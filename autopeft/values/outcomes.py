"""What came of a trial and of a search."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autopeft.values.candidates import Candidate
from autopeft.values.names import Criterion, EstimateSource, ForgettingMeasure, Status


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One intermediate reading of a trial.

    Attributes:
        tokens: training tokens seen, padding not counted.
        validation_loss: mean loss over the validation rows used for pruning.
        train_loss: mean training loss since the last reading.
    """

    tokens: int
    seconds: float
    train_loss: float
    validation_loss: float


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """What training did to a model's grasp of general text, on the same held rows before and after.

    Attributes:
        measure: ``perplexity`` or ``masked_lm_loss`` (nats per masked token) by the base's own language head, or
            ``representation_drift`` (mean of 1 − cosine of the last hidden states, 0 to 2) where it has none.
        before: of the base with nothing attached, quantized as in the run.
        change: after − before; above 0 something was forgotten.
        tokens: that were predicted, or compared.
    """

    measure: ForgettingMeasure
    before: float
    after: float
    change: float
    rows: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The median time of a forward pass over a few held-out rows; a text that is written takes one per token.

    Attributes:
        attached_milliseconds: per batch, with the method's modules attached.
        merged_milliseconds: per batch once merged, when nothing but the base's own modules is left; None where the
            method does not merge, or not into a quantized base.
        rows: of the batch.
        tokens: of the batch, padding not counted.
    """

    attached_milliseconds: float
    merged_milliseconds: float | None
    rows: int
    tokens: int

    @property
    def row_milliseconds(self) -> float:
        """Per row as it would be deployed: merged where it merges."""
        merged = self.merged_milliseconds
        return (self.attached_milliseconds if merged is None else merged) / self.rows


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """One trial as data, whatever came of it.

    Attributes:
        score: the user's metric on the validation split, higher is better; None unless completed.
        score_error: standard error of the score, by a bootstrap over the validation rows.
        metrics: every metric of the task on the validation split.
        peak_bytes: measured peak memory, None where the device does not say.
        estimated_bytes: what the estimate said before the trial ran, context included; None where none was made.
        estimated_by: ``trace``, or ``formula`` where that is so far from the limit that a trace would decide nothing.
        forgetting: measured where it was asked for, of a completed trial; so is the latency.
        adapter_bytes: what the trained values take on disk, head included; measured with the latency.
        continues: the number of the trial that this one went on from, None for one that began anew.
        reason: why it is not completed.
        too_slow: whether it ran out of its own time, and not of the search's: given as much again, it would again.
    """

    number: int
    status: Status
    candidate: Candidate
    score: float | None = None
    score_error: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Measurement, ...] = ()
    tokens: int = 0
    seconds: float = 0.0
    overhead_seconds: float = 0.0
    peak_bytes: int | None = None
    estimated_bytes: int | None = None
    estimated_by: EstimateSource | None = None
    trainable_parameters: int | None = None
    forgetting: Forgetting | None = None
    latency: Latency | None = None
    adapter_bytes: int | None = None
    continues: int | None = None
    reason: str = ""
    too_slow: bool = False

    @property
    def supersedes(self) -> bool:
        """Whether it stands for the trial that it went on from, which may otherwise be gone on from again."""
        return self.status != "worker_lost" and (self.status != "timed_out" or self.too_slow)


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric on one split with a bootstrap interval over its rows."""

    metric: str
    value: float
    low: float
    high: float
    level: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The winner's score minus another's on the same rows, with a paired bootstrap interval.

    Attributes:
        distinguishable: whether the interval leaves zero out.
    """

    value: float
    low: float
    high: float
    level: float
    distinguishable: bool


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A configuration trained for the final comparison and scored on validation and test.

    Attributes:
        tokens: it was trained on, padding not counted; of a race those of all its laps.
        seconds: its training took, scoring not counted; of a race what all its laps took, with the scores that decide
            them. Where several train side by side the comparison takes less than the sum.
    """

    config: Candidate
    validation: Score
    test: Score
    tokens: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """A trial that was trained anew with a seed of its own before the winner was chosen, by both scores.

    Attributes:
        number: of the trial.
        trial_score: on the validation rows of the trial, in the metric's own terms.
        validation: of the fresh training, on the whole validation split.
    """

    number: int
    config: Candidate
    trial_score: float
    validation: Score


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """A completed trial that no other equals in all objectives and beats in one.

    Attributes:
        number: of the trial.
        values: quality in the metric's own terms; ``memory`` in bytes at the peak; ``time`` in seconds of training;
            ``forgetting`` as the change of its measure; ``latency`` in milliseconds per row as deployed.
    """

    number: int
    config: Candidate
    values: Mapping[Criterion, float]


@dataclass(frozen=True, kw_only=True)
class Knee:
    """The trial on the Pareto front that was taken, by its number, and why."""

    number: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """What a search leaves: the winner beside honest baselines, the counts and the time.

    Attributes:
        references: scores of what needs no fine-tuning: ``untuned`` (the model's own score or a frozen
            probe) and, for classification, ``tfidf_logistic_regression``.
        default_lora: the default recipe, None where it diverged or did not fit: the notes then say so.
        raced_lora: the default recipe at the best of four learning rates, None likewise.
        difference: the winner minus ``default_lora`` and minus ``raced_lora`` on the test split, where it has one.
        trials: how many trials ended in each status.
        seconds: from the start of the search to the end of its trials, over all runs of it.
        comparison_seconds: that the comparison took after them.
        overhead_seconds: search seconds spent neither training nor evaluating, in the mean over workers.
        output: the folder that holds ``tuned.yaml``, ``trials.csv`` and the study.
        winner_trial: number of the trial that the winner's configuration comes from.
        finalists: who was trained anew, in the order of the trials' scores; the best of them is the winner.
        objectives: what was asked for, quality first.
        pareto: the front of the completed trials in these objectives, by number; empty for quality alone.
        knee: which of them the winner is, None for quality alone.
    """

    winner: Contender
    default_lora: Contender | None
    raced_lora: Contender | None
    difference: Mapping[str, Difference]
    references: Mapping[str, Score]
    trials: Mapping[str, int]
    seconds: float
    comparison_seconds: float
    overhead_seconds: float
    output: str
    notes: tuple[str, ...] = ()
    winner_trial: int | None = None
    finalists: tuple[Finalist, ...] = ()
    objectives: tuple[Criterion, ...] = ("quality",)
    pareto: tuple[ParetoPoint, ...] = ()
    knee: Knee | None = None

    @property
    def contenders(self) -> Mapping[str, Contender]:
        """Who was compared, by the keys above: the winner, and the baselines that came to their end."""
        compared = {"winner": self.winner, "default_lora": self.default_lora, "raced_lora": self.raced_lora}
        return {name: contender for name, contender in compared.items() if contender is not None}
