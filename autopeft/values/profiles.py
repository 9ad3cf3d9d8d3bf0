"""What is known about the hardware, the model and the task before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from autopeft.values.names import Dtype, ModelKind, Role, Task


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """A device's dense matrix rate and memory bandwidth.

    Attributes:
        tflops: dense TFLOP/s by dtype name (``float32``, ``bfloat16``, ``float16``, ``int8``, …).
        bandwidth_bytes_per_second: device memory bandwidth.
        source: where the numbers come from: a datasheet's address, or ``measured``.
    """

    tflops: Mapping[str, float]
    bandwidth_bytes_per_second: float | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device that could train: a GPU, a MIG slice, or the CPU.

    Attributes:
        compute_capability: CUDA compute capability such as ``9.0``; None for anything but NVIDIA.
        mig: whether this entry is a MIG slice (its memory is the slice's, not the card's).
        other_processes: how many other processes hold memory on it now.
        other_used_bytes: what they hold.
        context_bytes: what a process holds on it beside its tensors; None where that is not known.
        uuid: the driver's name for it, which ``CUDA_VISIBLE_DEVICES`` may have; None for anything but NVIDIA's.
        exclusive: whether CUDA gives it to a process by that name and without others: a MIG slice among several, or a
            card beside one.
    """

    index: int
    name: str
    kind: Literal["cuda", "rocm", "mps", "cpu", "accelerator"]
    total_memory_bytes: int
    free_memory_bytes: int
    compute_capability: str | None = None
    throughput: Throughput | None = None
    mig: bool = False
    other_processes: int = 0
    other_used_bytes: int = 0
    context_bytes: int | None = None
    uuid: str | None = None
    exclusive: bool = False


@dataclass(frozen=True, kw_only=True)
class HardwareProfile:
    """The devices found or named, and the dtype chosen for the first with the reason for it.

    Attributes:
        source: ``nvml``, ``cpu`` (this machine), ``catalogue`` (``--gpu``) or ``given`` (``--memory``).
        selected: position in ``devices`` of the one that candidates are planned for.
        dtype_reason: the number or the flag that the choice of dtype rests on.
    """

    source: Literal["nvml", "cpu", "catalogue", "given"]
    devices: tuple[Device, ...]
    selected: int
    cpu_count: int
    ram_bytes: int
    dtype: Dtype
    dtype_reason: str
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> Device:
        """The device that candidates are planned for."""
        return self.devices[self.selected]


@dataclass(frozen=True, kw_only=True)
class ModuleShape:
    """One module that owns weights, as the task model built from the config has it.

    Attributes:
        name: dotted name in the task model, as ``model.named_modules()`` yields it.
        kind: ``linear`` (``nn.Linear``), ``conv1d`` (GPT-2's transposed linear), ``embedding``, ``norm``, ``other``.
        in_features: input width; for an embedding the number of rows; for a norm its width.
        out_features: output width; for a norm its width.
        bias: whether it has a ``bias`` parameter.
        parameters: own parameters, weight and bias, shared weights counted once at their first owner.
        layer: index of the transformer layer it stands in, None outside the layers. In a seq2seq model
            decoder layers count on after the encoder's.
        head: whether it belongs to the task head that starts untrained.
    """

    name: str
    kind: Literal["linear", "conv1d", "embedding", "norm", "other"]
    role: Role
    in_features: int
    out_features: int
    bias: bool
    parameters: int
    layer: int | None = None
    head: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelProfile:
    """A model's structure, read from its config alone: no weights are loaded.

    Attributes:
        source: what the user named: a folder, a hub name or a GGUF file.
        fingerprint: SHA-256 of the canonical config, 64 hex digits; the same model has the same one anywhere.
        architecture: the class that the task builds, such as ``BertForSequenceClassification``.
        tasks: the task types that this architecture has a head for.
        parameters: all parameters of the task model, tied weights counted once.
        layers: transformer layers in all (encoder plus decoder for seq2seq).
        max_positions: longest sequence its positions allow, None where there is no limit in the config.
        weight_bytes: size of the weight files on disk or on the hub; None where there are none.
        task: the task that ``modules`` was built for.
        labels: size of that task's output layer, 0 where it has none.
        modules: every module that owns weights, in the order of ``named_modules()``.
        own_code: whether code that the model brings along builds it, as the run was told to let it.
    """

    source: str
    fingerprint: str
    model_type: str
    architecture: str
    kind: ModelKind
    tasks: tuple[Task, ...]
    parameters: int
    layers: int
    hidden_size: int
    feed_forward_size: int
    attention_heads: int
    key_value_heads: int
    head_size: int
    vocabulary_size: int
    tied_embeddings: bool
    max_positions: int | None
    weight_bytes: int | None
    weight_format: Literal["safetensors", "pytorch", "gguf", "none"]
    task: Task
    labels: int
    modules: tuple[ModuleShape, ...]
    notes: tuple[str, ...] = ()
    own_code: bool = False

    @cached_property
    def layer_linears(self) -> tuple[ModuleShape, ...]:
        """The linear modules of the transformer layers, task head and output embedding left out."""
        kinds = ("linear", "conv1d")
        return tuple(m for m in self.modules if m.kind in kinds and not m.head and m.layer is not None)

    @property
    def head_parameters(self) -> int:
        """Parameters of the fresh task head, which every method trains."""
        return sum(module.parameters for module in self.modules if module.head)

    @property
    def head_modules(self) -> tuple[str, ...]:
        """Top-level names of the fresh task head, such as ``classifier`` or ``score``."""
        names = {module.name.split(".")[0] for module in self.modules if module.head}
        return tuple(sorted(names))


@dataclass(frozen=True, kw_only=True)
class TokenLengths:
    """Distribution of tokens per row under one tokenizer, special tokens included, longer rows cut at the limit."""

    p50: int
    p95: int
    longest: int
    mean: float


@dataclass(frozen=True, kw_only=True)
class TaskProfile:
    """What the data asks of the model.

    Attributes:
        rows: rows by split name.
        columns: the data's column by role (``text``, ``label``, ``prompt``, ``completion``, ``messages``, …).
        labels: label names in the order of their ids; empty for tasks without classes.
        label_counts: rows per label over all splits.
        duplicates: rows whose text occurs before in the same split.
        leaked: rows of validation or test whose text, nearly, also stands in train, as found in the source.
        source: the file, folder or hub name; ``described`` where a user gave numbers instead of data.
    """

    task: Task
    source: str
    rows: Mapping[str, int]
    tokens: TokenLengths
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    label_counts: Mapping[str, int] = field(default_factory=dict)
    script: str | None = None
    language: str | None = None
    duplicates: int = 0
    leaked: int = 0
    notes: tuple[str, ...] = ()

    @property
    def training_rows(self) -> int:
        """Rows that a search may train on."""
        return self.rows.get("train", 0)
