"""The shares of a device's rates that training reaches, read from ``profiles/efficiency.yaml``."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from autopeft import resources
from autopeft.errors import FileFormatError
from autopeft.files import parse, read_yaml


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """What one kind of device reaches.

    Attributes:
        matmul: share of the dense rate that matrix products reach.
        attention: the same of fused attention.
        bandwidth: share of the memory bandwidth that anything reaches.
        kernel_seconds: what the device itself loses at every operation.
        dispatch_seconds: what the host needs to send one off; it works ahead of a GPU and waits for a CPU.
        spread_catalogue: factor above and below within which the time lies where rates are a data sheet's.
        spread_measured: the same where the device itself was timed.
        source: where the figures are from.
    """

    matmul: float
    attention: float
    bandwidth: float
    kernel_seconds: float
    dispatch_seconds: float
    spread_catalogue: float
    spread_measured: float
    source: str


@dataclass(frozen=True, kw_only=True)
class _File:
    schema_version: Literal[1]
    devices: Mapping[str, Efficiency]


@cache
def efficiency(kind: str) -> Efficiency:
    """Returns what a kind of device reaches.

    Raises:
        FileFormatError: the file breaks its schema or lacks the kind.
    """
    path = resources.profiles() / "efficiency.yaml"
    devices = parse(_File, read_yaml(path), str(path)).devices
    if kind not in devices:
        raise FileFormatError(f"{path} lacks the kind of device {kind!r}.")
    return devices[kind]
