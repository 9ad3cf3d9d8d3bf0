"""What a user asks the cost of, and the run that comes of it once every choice left open is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from autopeft.errors import close_match, invalid, unknown
from autopeft.estimation.estimate import planned_tokens
from autopeft.estimation.misplaced import advice_on
from autopeft.estimation.practice import OWN, OWNER, Practice, check_practice, practice_of
from autopeft.methods import Method, Seed, baseline, get_method
from autopeft.methods._legal import refuse
from autopeft.optimizers import get_optimizer
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import default_task, read_model
from autopeft.quantization import get_quantization
from autopeft.tasks import get_task
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.names import DTYPES, STRATEGIES, Dtype, ParameterValue, Strategy
from autopeft.values.profiles import Device, HardwareProfile, ModelProfile

TOKENS = 512
"""Sequence length assumed where none is given, cut to the model's positions."""

LARGEST = 1 << 20
"""Rows, forward passes and devices beyond which a number is a slip; sizes in bytes stay within 64 bits."""

LONGEST = 1 << 24
"""So are tokens per row; the longest contexts are of ten million."""

SELECTORS = ("targets", "layers")
"""What may be set beside the method's own parameters."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A run as a user describes it; what is None is taken from the method, the model or the device.

    Attributes:
        settings: the method's parameters by name, and ``targets`` and ``layers``; text is read as the
            parameter's domain asks.
        sequence_length: tokens per row, special tokens included.
        gpu: a card of the catalogue instead of this machine's.
        memory_bytes: plan as if the device had this much memory, all of it free.
        reserve_bytes: memory to leave for others, such as a display that shares the card.
        devices: how many of them work together under ``strategy``.
        measure: time this machine's device first.
        checkpointing: ``reentrant`` or ``non-reentrant``, as other training code recomputes; None for autopeft's own.
        loss: ``chunked`` where the code that trains computes it for some of the tokens at a time.
        attention: which one it asks for.
        packing: whether it packs the texts of a batch into one row.
        autocast: whether it trains under autocast.
    """

    model: str
    method: str | None = None
    settings: Mapping[str, ParameterValue] = field(default_factory=dict)
    quantization: str = Candidate.quantization
    dtype: str | None = None
    optimizer: str = Candidate.optimizer
    learning_rate: float | None = None
    batch_size: int = 1
    accumulation: int = 1
    sequence_length: int | None = None
    gradient_checkpointing: bool = False
    task: str | None = None
    gpu: str | None = None
    memory_bytes: int | None = None
    reserve_bytes: int = 0
    strategy: str = "none"
    devices: int = 1
    measure: bool = False
    checkpointing: str | None = None
    loss: str = OWN.loss
    attention: str = OWN.attention
    packing: bool = OWN.packing
    autocast: bool = OWN.autocast


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run with nothing left open.

    Attributes:
        tokens: per row, as the user counts them: what a method puts into the sequence comes on top.
        limit_bytes: what the run may take, context included.
        practice: how the code that trains goes about a step.
        notes: what was assumed.
    """

    setup: Setup
    tokens: int
    hardware: HardwareProfile
    limit_bytes: int
    strategy: Strategy = "none"
    devices: int = 1
    practice: Practice = OWN
    notes: tuple[str, ...] = ()

    @property
    def method(self) -> Method:
        """The declaration of the candidate's method."""
        return get_method(self.setup.candidate.method)

    @property
    def device(self) -> Device:
        """The device planned for."""
        return self.hardware.device


def plan(question: Question) -> Plan:
    """Returns the run that a question describes.

    Raises:
        InvalidValueError: a name, a number or a combination cannot be; every reason of the method is named.
        ModelError: the model cannot be read, or has no head for the task.
    """
    _check_numbers(question)
    method, seed = _recipe(question.method)
    get_optimizer(question.optimizer)
    get_quantization(question.quantization)
    strategy = _strategy(question)
    practice = practice_of(
        question.checkpointing, question.loss, question.attention, packing=question.packing,
        autocast=question.autocast,
    )  # fmt: skip
    hardware = probe_hardware(gpu=question.gpu, memory_bytes=question.memory_bytes, measure=question.measure)
    _check_optimizer(question.optimizer, hardware.device)
    task = default_task(question.model) if question.task is None else get_task(question.task).name
    model = read_model(question.model, task)
    setup = Setup(model=model, task=task, candidate=_candidate(question, method, seed, hardware))
    refuse(setup, method.violations)
    check_practice(practice, setup, hardware.device)
    tokens, notes = _tokens(question.sequence_length, model)
    _check_positions(setup, tokens)
    return Plan(
        setup=setup, tokens=tokens, hardware=hardware, strategy=strategy, devices=question.devices, practice=practice,
        limit_bytes=max(0, hardware.device.free_memory_bytes - question.reserve_bytes), notes=notes,
    )  # fmt: skip


def _check_numbers(question: Question) -> None:
    for key, value, most in (
        ("--batch-size", question.batch_size, LARGEST),
        ("--accumulation", question.accumulation, LARGEST),
        ("--sequence-length", question.sequence_length, LONGEST),
        ("--devices", question.devices, LARGEST),
        ("--memory", question.memory_bytes, None),
    ):
        if value is not None and value < 1:
            raise invalid(key, OWNER, "at least 1", value)
        if value is not None and most is not None and value > most:
            raise invalid(key, OWNER, f"at most {most:,}", value)
    if question.reserve_bytes < 0:
        raise invalid("--reserve", OWNER, "at least 0", question.reserve_bytes)
    if question.learning_rate is not None and not question.learning_rate > 0:
        raise invalid("--learning-rate", OWNER, "above 0", question.learning_rate)


def _recipe(name: str | None) -> tuple[Method, Seed]:
    """Returns a method and what stands for the parameters that are not set: its recipe, else its first seed."""
    if name is None:
        default, seed = baseline("default")
        return get_method(default), seed
    advice = advice_on(name)
    if advice:
        raise invalid("method", OWNER, "a method", name, advice)
    method = get_method(name)
    return method, method.baseline.get("default", method.seeds[0])


def _strategy(question: Question) -> Strategy:
    found = next((name for name in STRATEGIES if name == question.strategy), None)
    if found is None:
        raise unknown("--strategy", OWNER, question.strategy, STRATEGIES)
    if found == "none" and question.devices != 1:
        advice = "Add --strategy ddp or --strategy fsdp."
        raise invalid("--devices", "an estimate without a strategy", "1", question.devices, advice)
    return found


def _check_optimizer(name: str, device: Device) -> None:
    if get_optimizer(name).needs_cuda and device.kind != "cuda":
        raise invalid(
            "--optimizer", f"an estimate for {device.name}", "one that does not need CUDA", name,
            "Name a card with --gpu, or another optimizer.",
        )  # fmt: skip


def _candidate(question: Question, method: Method, seed: Seed, hardware: HardwareProfile) -> Candidate:
    settings = dict(question.settings)
    takes_targets = method.capabilities.takes_targets
    targets = str(settings.pop("targets", seed.targets if takes_targets else "none"))
    layers = str(settings.pop("layers", Candidate.layers))
    return Candidate(
        method=method.name, parameters={**seed.parameters, **_typed(method, settings)}, targets=targets,
        layers=layers, quantization=question.quantization, dtype=_dtype(question.dtype, method, hardware),
        optimizer=question.optimizer, learning_rate=question.learning_rate or seed.learning_rate,
        batch_size=question.batch_size, accumulation=question.accumulation,
        gradient_checkpointing=question.gradient_checkpointing,
    )  # fmt: skip


def _dtype(name: str | None, method: Method, hardware: HardwareProfile) -> Dtype:
    if name is None:
        return method.capabilities.dtype_beside(hardware.dtype)
    for known in DTYPES:
        if known == name:
            return known
    raise unknown("--dtype", OWNER, name, DTYPES)


def _typed(method: Method, settings: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    """Returns settings in the types of the method's parameters; what cannot be read is left for `violations`."""
    for name in settings:
        if name not in method.legal:
            known = (*method.legal, *SELECTORS)
            raise invalid(
                "--set", method.name, f"one of {', '.join(known)}", name, close_match(name, known)
            )  # fmt: skip
    return {name: _read(method, name, value) for name, value in settings.items()}


def _read(method: Method, name: str, value: ParameterValue) -> ParameterValue:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if not isinstance(value, str):
        return value
    domain = method.legal[name]
    if isinstance(domain, CategoricalDistribution):
        return next((c for c in domain.choices if c is not None and str(c).lower() == value.lower()), value)
    try:
        return int(value) if isinstance(domain, IntDistribution) else float(value)
    except ValueError:
        return value


def _tokens(given: int | None, model: ModelProfile) -> tuple[int, tuple[str, ...]]:
    if given is not None:
        return given, ()
    tokens = min(TOKENS, model.max_positions or TOKENS)
    return tokens, (f"Rows of {tokens} tokens are assumed; --sequence-length says how many.",)


def _check_positions(setup: Setup, tokens: int) -> None:
    positions, planned = setup.model.max_positions, planned_tokens(setup, tokens)
    if positions is None or planned <= positions:
        return
    own = planned - tokens
    taken = f" less the {own} that the method puts into the sequence" if own else ""
    raise invalid(
        "--sequence-length", OWNER, f"at most the model's {positions} positions{taken}", tokens,
        "Cut the rows, or choose a model with more positions.",
    )  # fmt: skip
