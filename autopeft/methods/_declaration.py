"""What a method declares: the one shape that the rest of autopeft knows methods by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from autopeft.values.candidates import Setup
from autopeft.values.names import Dtype, ModelKind, ParameterValue, Task

if TYPE_CHECKING:
    from pathlib import Path

    from optuna.distributions import BaseDistribution, FloatDistribution

Family = Literal[
    "low-rank", "orthogonal", "spectral", "adapter", "soft-prompt", "scaling", "selective", "full",
]  # fmt: skip
Kind = Literal["method", "composition", "initialization"]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The work that a method comes from."""

    title: str
    year: int
    address: str


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Typed facts that rules, estimates and the contract rely on.

    Attributes:
        tasks: task types it can train.
        models: kinds of architecture it applies to.
        quantized_base: works on a base quantized by bitsandbytes.
        needs_quantized: works on nothing else.
        mergeable: can be folded into the base weights, so that inference costs nothing extra.
        identity_at_start: the model's output is unchanged by attaching it.
        adds_latency: still slows inference once deployed, merged where it can be.
        changes_base: the base's own weights are other ones than before, by training or by where it starts.
        moves_base: what its start takes out of the base's weights trains beside them, in modules of its own.
        takes_targets: `targets` selects its modules.
        takes_layers: `layers` selects its layers.
        gradient_checkpointing: works with it.
        uses_context: takes room from the input sequence.
        servers: inference servers that load its adapters as they are.
        shardable: trains alike where each of several devices holds a share of every parameter (FSDP).
    """

    tasks: tuple[Task, ...]
    models: tuple[ModelKind, ...]
    quantized_base: bool
    mergeable: bool
    identity_at_start: bool
    adds_latency: bool
    changes_base: bool
    takes_targets: bool
    takes_layers: bool
    gradient_checkpointing: bool = True
    uses_context: bool = False
    servers: tuple[str, ...] = ()
    needs_quantized: bool = False
    moves_base: bool = False
    shardable: bool = True

    @property
    def trains_base(self) -> bool:
        """Whether what trains are weights of the base itself, so that nothing is added to it."""
        return self.changes_base and not self.moves_base

    def trains_in(self, dtype: Dtype) -> bool:
        """Whether it trains where the base is stored in a dtype: no gradient scaler takes weights of float16."""
        return dtype != "float16" or not self.trains_base

    def dtype_beside(self, dtype: Dtype) -> Dtype:
        """Returns what it trains in on a device of a dtype: float32 where it cannot train in that."""
        return dtype if self.trains_in(dtype) else "float32"


@dataclass(frozen=True, kw_only=True)
class Seed:
    """A configuration from the literature (or measured here) that a search tries first."""

    parameters: Mapping[str, ParameterValue]
    learning_rate: float
    source: str
    targets: str = "all-linear"


def nothing(_setup: Setup) -> int:
    """Returns 0: what a method holds frozen beside the base, or trains in pairs, where it does not."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Method:
    """One parameter-efficient method, declared by one file.

    The functions take a `Setup`; those that touch the network take the torch module too and are the only ones
    that import torch or peft.

    Attributes:
        name: snake_case, as the command line and files spell it.
        legal: the legal domain of each parameter; the range searched by default lies in `search_spaces/`.
        learning_rate: the method's own learning-rate range.
        seeds: what to try first, the most trusted first.
        trainable: setup → parameters it trains, the task head left out; exact, and without torch.
        first_factors: setup → those of them that are first factors of peft's low-rank pairs, which an optimizer may
            freeze; 0 where the method has no such pairs.
        violations: setup → why it cannot apply, one sentence each; empty exactly when `apply` succeeds.
        apply: (task model, setup) → the model with the method attached, only declared parameters trainable,
            the task head included.
        peft_config: setup → peft's config; None where the method is not peft's.
        effective: model with the method attached → the parameters that took effect, read from its modules.
        detach: the attached model → the task model as it was before `apply`, base weights untouched by it
            (a method that changes the base leaves restoring to the caller, who keeps a copy).
        merge: the attached model → the task model with the update folded in; None where it is not mergeable.
        save: (attached model, folder) writes what was trained, head included, as safetensors.
        load: (task model, setup, folder) → the attached model with the saved values.
        prepare: (attached model, setup, some training batches) starts the method from data, before the optimizer is
            made; None where it needs none. Each batch holds the model's arguments, labels included.
        before_training: (attached model, total optimizer steps) fits a schedule to a run whose length was not
            known when the method was attached; None where nothing depends on it.
        after_step: (attached model, optimizer steps done) runs after each optimizer step's update and before
            its gradients are cleared; None where nothing is needed.
        keeps_state: between steps it keeps something that is neither trained nor in the optimizer.
        memory_factor: share of the activations that plain low-rank adapters keep that this method keeps
            besides, for the formula estimate.
        layers_alike: layers chosen alike do alike whatever the depth, so that a trace of a few stands for all; what
            ties layers to each other, or hands each its share from outside, is traced whole at once.
        traceable: it can be attached to shapes alone; what it makes of the weights' values leaves nothing to trace.
        held: setup → bytes of frozen tensors that it puts beside the base, for the formula estimate; a trace sees them.
        baseline: default recipes built on this method, by name: the ones a search compares itself with.
        kind: a method of its own, two of them together, or another method's modules started elsewhere.
    """

    name: str
    title: str
    family: Family
    paper: Paper
    summary: str
    capabilities: Capabilities
    legal: Mapping[str, "BaseDistribution"]
    learning_rate: "FloatDistribution"
    seeds: tuple[Seed, ...]
    trainable: Callable[[Setup], int]
    violations: Callable[[Setup], tuple[str, ...]]
    apply: Callable[[Any, Setup], Any]
    peft_config: Callable[[Setup], Any]
    effective: Callable[[Any], dict[str, ParameterValue]]
    detach: Callable[[Any], Any]
    merge: Callable[[Any], Any] | None
    save: Callable[[Any, "Path"], None]
    load: Callable[[Any, Setup, "Path"], Any]
    prepare: Callable[[Any, Setup, Sequence[Mapping[str, Any]]], None] | None = None
    before_training: Callable[[Any, int], None] | None = None
    after_step: Callable[[Any, int], None] | None = None
    keeps_state: bool = False
    memory_factor: float = 1.0
    layers_alike: bool = True
    traceable: bool = True
    held: Callable[[Setup], int] = nothing
    first_factors: Callable[[Setup], int] = nothing
    baseline: Mapping[str, Seed] = field(default_factory=dict)
    kind: Kind = "method"

    @property
    def interruptible(self) -> bool:
        """Whether a run can go on from what trains and the optimizer's state, as if it had never stopped."""
        return self.after_step is None and not self.keeps_state


class Facts(TypedDict):
    """The fields of `Method` that every shared declaration takes as they are."""

    name: str
    title: str
    paper: Paper
    summary: str
    learning_rate: "FloatDistribution"
    seeds: tuple[Seed, ...]
