"""A candidate configuration, what it is expected to cost, and why it is proposed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from autopeft.values.names import Dtype, ParameterValue, Strategy, Task
from autopeft.values.predictions import Prediction, ProbeRun
from autopeft.values.profiles import ModelProfile


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to fine-tune: everything that decides a run but its data, budget and seed.

    Attributes:
        method: a name from the catalogue of methods.
        parameters: the method's own parameters, by the names of its legal domain.
        targets: ``attention``, ``qv``, ``mlp``, ``all-linear``, or module names separated by commas; ``none``
            for a method that does not take targets.
        layers: ``all``, ``last:K``, ``every:N`` or ``gradient:K``.
        layer_indices: the layers that ``gradient:K`` came to, ascending; None until it is resolved.
        quantization: a name from the catalogue of quantization schemes.
        dtype: dtype of the base weights that are not quantized, and of the computation.
        optimizer: a name from the catalogue of optimizers.
        schedule: a name from the catalogue of learning-rate schedules.
        batch_size: rows per forward pass.
        accumulation: forward passes per optimizer step.
    """

    method: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    targets: str = "all-linear"
    layers: str = "all"
    layer_indices: tuple[int, ...] | None = None
    quantization: str = "none"
    dtype: Dtype = "float32"
    optimizer: str = "adamw"
    schedule: str = "linear"
    learning_rate: float
    batch_size: int = 16
    accumulation: int = 1
    gradient_checkpointing: bool = False


SCORED_ON_CPU = 32
"""Rows scored at once where memory is no concern."""


def rows_at_once(candidate: Candidate, device: str) -> int:
    """Returns the rows of a forward pass that scores: 32 on a CPU that trains more than one, else as in training.

    A device's memory was planned for the rows of a training step, and logits over a vocabulary outgrow all else; so
    was a CPU's where one row is what is left of a batch.
    """
    return SCORED_ON_CPU if device == "cpu" and candidate.batch_size > 1 else candidate.batch_size


def with_rows(candidate: Candidate, rows: int, at_once: int) -> Candidate:
    """Returns a candidate of so many rows per optimizer step: as many at once as divide them, up to a limit."""
    micro = next(size for size in range(min(rows, at_once), 0, -1) if rows % size == 0)
    return replace(candidate, batch_size=micro, accumulation=rows // micro)


def halved(candidate: Candidate) -> Candidate:
    """Returns a candidate that takes at most half its rows at once, and as many as before per optimizer step."""
    return with_rows(candidate, candidate.batch_size * candidate.accumulation, candidate.batch_size // 2)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A candidate together with the model and the task it meets: what methods' functions take.

    Attributes:
        total_steps: optimizer steps of the planned run, for methods that schedule over it.
    """

    model: ModelProfile
    task: Task
    candidate: Candidate
    total_steps: int = 1000


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Peak memory of a training run on one device, in bytes.

    Attributes:
        breakdown: what is alive at the peak: ``weights``, ``adapter``, ``gradients``, ``optimizer_state``,
            ``activations``, ``logits_and_loss``, ``temporaries``.
        peak_phase: ``load``, ``forward``, ``backward``, ``optimizer_step`` or ``evaluation``; empty where the
            estimate counts everything as alive at once.
    """

    peak_allocated_bytes: int
    peak_reserved_bytes: int
    context_bytes: int
    breakdown: Mapping[str, int]
    peak_phase: str = ""

    @property
    def total_bytes(self) -> int:
        """Reserved memory plus the device's context: what the card must have free."""
        return self.peak_reserved_bytes + self.context_bytes


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a candidate is expected to cost.

    Attributes:
        step_seconds: of one optimizer step, accumulation included; None where the device's speed is not known.
        step_seconds_low: lower end of the interval that the time is expected in.
        step_seconds_high: its upper end.
        step_seconds_by_class: the same seconds by class of operation, empty where they are not told apart.
        notes: what a reader has to know, such as which measurements corrected it.
    """

    memory: MemoryEstimate
    step_seconds: float | None
    trainable_parameters: int
    total_parameters: int
    step_seconds_low: float | None = None
    step_seconds_high: float | None = None
    step_seconds_by_class: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A rule that fired for a candidate.

    Attributes:
        weight: how far it moves the candidate's score; negative speaks against it.
        contradicted: what was measured against it, and by how much; empty where nothing was.
    """

    rule: str
    verdict: Literal["prefer", "avoid", "note"]
    because: str
    source: str
    weight: float
    contradicted: str = ""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A candidate that the recommender stands behind, with its cost and its reasons.

    Attributes:
        fits: into the memory that may be used.
        score: sum of the reasons' weights.
        prediction: what it is expected to gain over the default recipe; None before it is asked for.
        probe: what a few real steps came to; None where it was not probed.
        on_front: whether no other beats it in all objectives asked for; None where none were.
        seed_rate: the learning rate of the seed that it was made from, by which rules judge it; None where it has that.
    """

    candidate: Candidate
    estimate: Estimate
    fits: bool
    score: float
    reasons: tuple[Reason, ...]
    prediction: Prediction | None = None
    probe: ProbeRun | None = None
    on_front: bool | None = None
    seed_rate: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A method that was left out.

    Attributes:
        lacking_bytes: memory it lacks, 0 where memory is not the reason.
        remedy: what would make it fit, empty where nothing would.
    """

    method: str
    because: tuple[str, ...]
    lacking_bytes: int = 0
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Team:
    """How many devices of one machine train one model together, and how they share it.

    Attributes:
        strategy: ``ddp`` for a whole model on each, ``fsdp`` for a share of it, ``none`` for one device.
    """

    strategy: Strategy = "none"
    devices: int = 1

    @property
    def alone(self) -> bool:
        """Whether one device trains by itself."""
        return self.strategy == "none"

    @property
    def sharded(self) -> bool:
        """Whether each device holds a share of the model."""
        return self.strategy == "fsdp"


ONE_DEVICE = Team()


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What the user demands of a candidate.

    Attributes:
        memory_bytes: limit on reserved memory plus context; None means the device's own.
        max_trainable: limit on trained parameters, head included.
        mergeable_only: refuse methods that add latency at inference.
        server: that must be able to serve what was trained, as an adapter or merged; None for any.
        methods: only these; empty means all.
        exclude: never these.
        team: the devices that train one candidate together.
    """

    memory_bytes: int | None = None
    max_trainable: int | None = None
    mergeable_only: bool = False
    server: str | None = None
    methods: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    team: Team = ONE_DEVICE


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Candidates in order of preference, and the methods left out with what each lacks."""

    candidates: tuple[Suggestion, ...]
    rejected: tuple[Rejection, ...]
    notes: tuple[str, ...] = ()
