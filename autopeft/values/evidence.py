"""A measured run: what was trained on what, what came of it, and who measured it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autopeft.values.names import ModelKind, ParameterValue, Status, Task


@dataclass(frozen=True, kw_only=True)
class RunModel:
    """What of a model decides how well a method does on it; None where the source does not say.

    Attributes:
        name: as the source calls it; a model cut to fewer layers carries them in its name.
        parameters: of the model without what the method adds.
    """

    name: str
    kind: ModelKind
    model_type: str | None = None
    parameters: int | None = None
    layers: int | None = None
    hidden_size: int | None = None
    vocabulary_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class RunTask:
    """What of a task and its data decides how well a method does; None where the source does not say.

    Attributes:
        name: of the data set, and of the one it was scored on where that is another.
        rows: training rows there are.
        labels: classes, 0 for tasks without them.
        tokens_per_row: mean over the training rows.
    """

    name: str
    task: Task
    rows: int | None = None
    labels: int = 0
    tokens_per_row: float | None = None
    language: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunPoint:
    """One reading on the way.

    Attributes:
        share: of the run's budget that was spent, from 0 to 1.
        value: of the run's metric, on validation rows.
    """

    share: float
    value: float | None = None
    train_loss: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunQuality:
    """How good the trained model was.

    Attributes:
        metric: ``accuracy``, ``macro_f1``, ``validation_loss``, …: what ``value`` is.
        share: whether the metric is a share between 0 and 1, so that points of a hundred are its natural unit.
        rows: rows it was measured on, which bound how exact it can be; None where the source does not say.
        others: further metrics by name.
    """

    metric: str
    value: float
    higher_is_better: bool = True
    share: bool = True
    rows: int | None = None
    curve: tuple[RunPoint, ...] = ()
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run that somebody measured, whatever came of it.

    Attributes:
        name: unique within the file.
        setting: runs with the same setting differ in method, parameters and what comes with them alone, so that
            their qualities can be compared.
        method: a name of the catalogue; None where the catalogue has no such method.
        original: what the source calls the method, and its own words for what the catalogue has none for.
        parameters: by the names of the method's legal domain.
        unmapped: further parameters by the source's own names, lists joined by commas.
        targets: as candidates have it; empty where the source does not say.
        reference: whether it is plain LoRA, which the other runs of its setting are measured against.
        interested: whether those who measured it had proposed one of the methods that they compare.
        schedule: of the learning rate; empty where the source does not say.
        batch_size: rows per optimizer step.
        tokens: trained on; padding not counted where the source says so.
        forgetting: rise of the loss, in nats, on text that has nothing to do with the task.
        peak_bytes: measured; ``peak_kind`` says what of: ``allocated``, ``reserved`` or ``process``.
        seconds: of training.
        reason: why it was not completed.
        versions: of libraries by distribution.
        date: ``YYYY-MM-DD``.
        source: an address, or the command that measured it.
        notes: what a reader of the figures has to know.
    """

    name: str
    setting: str
    model: RunModel
    task: RunTask
    method: str | None
    original: str
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    unmapped: Mapping[str, ParameterValue] = field(default_factory=dict)
    targets: str = ""
    layers: str = "all"
    quantization: str = "none"
    dtype: str = ""
    optimizer: str = ""
    schedule: str = ""
    learning_rate: float | None = None
    batch_size: int | None = None
    sequence_limit: int | None = None
    steps: int | None = None
    tokens: int | None = None
    seed: int | None = None
    reference: bool = False
    interested: bool = False
    trainable_parameters: int | None = None
    status: Status
    reason: str = ""
    quality: RunQuality | None = None
    forgetting: float | None = None
    peak_bytes: int | None = None
    peak_kind: str = ""
    seconds: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str
    date: str
    source: str
    licence: str
    notes: tuple[str, ...] = ()
    schema_version: int = 1
