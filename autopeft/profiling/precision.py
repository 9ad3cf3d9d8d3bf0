"""Which dtype a device should train in, with the number or the flag that the choice rests on."""

from autopeft.profiling.cpu import bfloat16_flag
from autopeft.values.names import Dtype
from autopeft.values.profiles import Device

_NATIVE_BFLOAT16 = (8, 0)
_TENSOR_CORES = (7, 0)
WORTH_IT = 1.5
"""How much faster a measured bfloat16 product must be: the rest of a step runs no faster, and precision is lost."""


def choose_dtype(device: Device) -> tuple[Dtype, str]:
    """Returns the dtype to compute in on a device, and why."""
    if device.kind == "cuda":
        return _by_capability(device)
    if device.kind == "cpu":
        return _for_cpu(device)
    return _by_rate(device)


def _by_capability(device: Device) -> tuple[Dtype, str]:
    if device.compute_capability is None:
        return "float32", "the driver reports no compute capability"
    capability = device.compute_capability
    major, minor = (int(part) for part in capability.split("."))
    if (major, minor) >= _NATIVE_BFLOAT16:
        return "bfloat16", f"compute capability {capability}: native bfloat16 from 8.0 on"
    if (major, minor) >= _TENSOR_CORES:
        return "float16", f"compute capability {capability}: tensor cores for float16, bfloat16 only from 8.0 on"
    return "float32", f"compute capability {capability}: no tensor cores below 7.0"


def _for_cpu(device: Device) -> tuple[Dtype, str]:
    if device.throughput is not None:
        single = device.throughput.tflops["float32"]
        half = device.throughput.tflops["bfloat16"]
        chosen: Dtype = "bfloat16" if half >= WORTH_IT * single else "float32"
        return chosen, f"measured: float32 {single:.3g} TFLOP/s, bfloat16 {half:.3g} TFLOP/s"
    flag = bfloat16_flag()
    if flag is None:
        return "float32", "this CPU states neither amx_bf16 nor avx512_bf16"
    return "float32", f"this CPU states {flag}, but only a measurement (--measure) speaks for bfloat16 on a CPU"


def _by_rate(device: Device) -> tuple[Dtype, str]:
    rates = device.throughput.tflops if device.throughput else {}
    half, single = rates.get("bfloat16"), rates.get("float32")
    if half is not None and (single is None or half > single):
        against = "no rate for float32" if single is None else f"{single:g} for float32"
        return "bfloat16", f"{half:g} TFLOP/s for bfloat16 against {against}"
    return "float32", "no rate is known by which bfloat16 would be faster"
