"""The cards and accelerators in `profiles/hardware/`: what a user can plan for without owning it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autopeft.errors import FileFormatError, unknown
from autopeft.files import parse, read_yaml
from autopeft.resources import profiles
from autopeft.values.profiles import Device, Throughput

DeviceKind = Literal["cuda", "rocm", "mps", "accelerator"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an entry's figures stand."""

    title: str
    address: str


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """One card or accelerator.

    Attributes:
        memory_bytes: the vendor's capacity.
        usable_bytes: what the driver reports in all, where it is known and less.
        reported_as: names by which the driver reports it.
        tflops: dense rates, never with sparsity, by dtype (``float32``, ``tfloat32``, ``bfloat16``, ``float16``,
            ``int8`` in TOP/s); a dtype that is not supported or not stated is absent.
        compute_capability: CUDA's; None for anything but NVIDIA.
        context_bytes: an estimate of what a process holds beside its tensors.
    """

    schema_version: Literal[1]
    name: str
    title: str
    vendor: str
    kind: DeviceKind
    memory_bytes: int
    bandwidth_bytes_per_second: float
    tflops: Mapping[str, float]
    context_bytes: int
    source: Source
    reported_as: tuple[str, ...] = ()
    usable_bytes: int | None = None
    compute_capability: str | None = None
    note: str = ""


def card_names() -> tuple[str, ...]:
    """Returns the names of all cards, sorted."""
    return tuple(sorted(path.stem for path in _folder().glob("*.yaml")))


def load_card(name: str) -> CatalogueEntry:
    """Returns one card of the catalogue.

    Raises:
        InvalidValueError: no card has this name; the closest match is offered.
        FileFormatError: its file does not follow the schema.
    """
    if name not in card_names():
        raise unknown("--gpu", "the command", name, card_names())
    path = _folder() / f"{name}.yaml"
    entry = parse(CatalogueEntry, read_yaml(path), str(path))
    if entry.name != name:
        raise FileFormatError(f"{path} names {entry.name!r}, but its file is called {name}.")
    return entry


def find_card(reported: str) -> CatalogueEntry | None:
    """Returns the card that the driver reports under this name, None where the catalogue lacks it."""
    for path in sorted(_folder().glob("*.yaml")):
        if f'"{reported}"' in path.read_text(encoding="utf-8"):  # spares parsing all the others
            entry = load_card(path.stem)
            if reported in entry.reported_as:
                return entry
    return None


def card_device(entry: CatalogueEntry) -> Device:
    """Returns a card as a device with nothing running on it."""
    usable = entry.usable_bytes or entry.memory_bytes
    return Device(
        index=0, name=entry.title, kind=entry.kind, total_memory_bytes=usable, free_memory_bytes=usable,
        compute_capability=entry.compute_capability, context_bytes=entry.context_bytes,
        throughput=Throughput(
            tflops=entry.tflops, bandwidth_bytes_per_second=entry.bandwidth_bytes_per_second,
            source=entry.source.address,
        ),
    )  # fmt: skip


def _folder() -> Path:
    return profiles() / "hardware"
