"""Seconds per optimizer step from a trace's operations: each takes the slower of arithmetic and memory traffic.

The roofline of Williams, Waterman and Patterson (2009, doi 10.1145/1498765.1498785), operation by operation, with
the shares of both roofs that training reaches in ``profiles/efficiency.yaml``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autopeft.estimation.efficiency import Efficiency, efficiency
from autopeft.estimation.trace import Operation
from autopeft.values.profiles import Device, Throughput

OperationClass = Literal["matmul", "attention", "memory", "optimizer", "overhead"]
CLASSES: tuple[OperationClass, ...] = ("matmul", "attention", "memory", "optimizer", "overhead")
"""What corrections from measured runs tell apart."""

_ATTENTION = ("scaled_dot_product", "flash_attention", "efficient_attention", "flash_attn")
_MOVES_NOTHING = frozenset(
    {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "view", "detach"}
)
"""Operations that only make or name memory: they cost what sending one off costs."""

_FALLBACK = "float32"
"""The rate of dtypes that a device's profile does not state."""


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """Seconds of one optimizer step.

    Attributes:
        low: lower end of the interval that the time is expected in.
        high: its upper end.
        by_class: the seconds by class of operation; their sum is ``seconds``.
        measured: whether the device's rates were timed on it, not read from a data sheet.
    """

    seconds: float
    low: float
    high: float
    by_class: Mapping[OperationClass, float]
    measured: bool


def trace_seconds(
    operations: Sequence[Operation],
    device: Device,
    *,
    accumulation: int = 1,
    factors: Mapping[OperationClass, float] | None = None,
    reached: Efficiency | None = None,
) -> StepTime | None:
    """Returns the time of one optimizer step, None for a device whose rates are not known.

    A GPU works off what the host sends ahead, so its step takes the longer of both; a CPU does one after the other.

    Args:
        operations: of one micro-batch; the optimizer's are once per step, evaluation is left out.
        device: planned for, with its throughput.
        accumulation: micro-batches per step.
        factors: corrections by class of operation, from measured runs on this device.
        reached: shares of its rates; those of its kind where None.
    """
    throughput = device.throughput
    otherwise = None if throughput is None else _rate_of_others(operations, throughput.tflops)
    if throughput is None or otherwise is None or not throughput.bandwidth_bytes_per_second:
        return None
    reached = reached or efficiency(device.kind)
    by_class: dict[OperationClass, float] = dict.fromkeys(CLASSES, 0.0)
    count = 0
    for operation in operations:
        if operation.phase in ("evaluation", "load"):
            continue
        repeats = operation.count * (1 if operation.phase == "optimizer_step" else accumulation)
        by_class[operation_class(operation)] += repeats * _operation_seconds(operation, throughput, otherwise, reached)
        count += repeats
    by_class["overhead"] = _overhead(sum(by_class.values()), count, device.kind, reached)
    if factors is not None:
        by_class = {name: seconds * factors.get(name, 1.0) for name, seconds in by_class.items()}
    return _with_interval(by_class, reached, measured=throughput.source == "measured")


def operation_class(operation: Operation) -> OperationClass:
    """Returns what an operation's time is counted under."""
    if operation.phase == "optimizer_step":
        return "optimizer"
    if any(part in operation.name for part in _ATTENTION):
        return "attention"
    return "matmul" if operation.flops > operation.bytes_moved else "memory"


def _rate_of_others(operations: Sequence[Operation], rates: Mapping[str, float]) -> float | None:
    """Returns the rate of the dtypes that a device's profile does not state; None where it says too little.

    That is float32's. Some accelerators state bfloat16 alone: then it is the dtype's in which most is computed, where
    that is stated, for the few products beside it.
    """
    if rates.get(_FALLBACK):
        return rates[_FALLBACK]
    computed: Counter[str] = Counter()
    for operation in operations:
        computed[operation.dtype] += int(operation.flops * operation.count)
    most = max(computed, key=lambda dtype: computed[dtype], default="")
    return rates.get(most) or None


def _operation_seconds(operation: Operation, throughput: Throughput, otherwise: float, reached: Efficiency) -> float:
    if operation.name in _MOVES_NOTHING and not operation.flops:
        return 0.0
    rate = throughput.tflops.get(operation.dtype) or otherwise
    share = reached.attention if operation_class(operation) == "attention" else reached.matmul
    arithmetic = operation.flops / (rate * 1e12 * share)
    bandwidth = throughput.bandwidth_bytes_per_second or 1.0
    return max(arithmetic, operation.bytes_moved / (bandwidth * reached.bandwidth))


def _overhead(busy: float, count: int, kind: str, reached: Efficiency) -> float:
    """Returns what comes on top of the work itself: on a GPU only what the host is slower by."""
    if kind == "cpu":
        return count * reached.dispatch_seconds
    device_side = count * reached.kernel_seconds
    return max(device_side, count * reached.dispatch_seconds - busy)


def _with_interval(by_class: Mapping[OperationClass, float], reached: Efficiency, *, measured: bool) -> StepTime:
    seconds = sum(by_class.values())
    spread = reached.spread_measured if measured else reached.spread_catalogue
    return StepTime(
        seconds=seconds, low=seconds / spread, high=seconds * spread, by_class=by_class, measured=measured
    )  # fmt: skip
