"""Stands in for `pynvml`: a driver with the cards that a test gives it."""

from dataclasses import dataclass, field
from types import SimpleNamespace

GIB = 1 << 30


class NVMLError(Exception):
    pass


class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, N818 - named as the library names it
    pass


class NVMLError_DriverNotLoaded(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_FunctionNotFound(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_NoPermission(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_NotFound(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_InvalidArgument(NVMLError):  # noqa: N801, N818
    pass


class NVMLError_GpuIsLost(NVMLError):  # noqa: N801, N818
    pass


@dataclass(eq=False)
class Card:
    """One card or slice; ``memory`` None answers NotSupported, ``lost`` fails the handle itself."""

    name: str = "NVIDIA GeForce RTX 3090"
    uuid: str = "GPU-0"
    total: int = 24 * GIB
    free: int = 23 * GIB
    capability: tuple[int, int] = (8, 6)
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    slices: list["Card | None"] | None = None
    unified: bool = False
    lost: bool = False


class FakeNvml:
    """The functions of the library that are used, over a list of cards."""

    NVML_DEVICE_MIG_ENABLE = 1
    NVMLError = NVMLError
    NVMLError_LibraryNotFound = NVMLError_LibraryNotFound
    NVMLError_DriverNotLoaded = NVMLError_DriverNotLoaded
    NVMLError_NotSupported = NVMLError_NotSupported
    NVMLError_FunctionNotFound = NVMLError_FunctionNotFound
    NVMLError_NoPermission = NVMLError_NoPermission
    NVMLError_NotFound = NVMLError_NotFound
    NVMLError_InvalidArgument = NVMLError_InvalidArgument

    def __init__(self, *cards: Card, fails: BaseException | None = None) -> None:
        self.cards = cards
        self.fails = fails
        self.open = 0

    def nvmlInit(self):  # noqa: N802
        if self.fails is not None:
            raise self.fails
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if self.cards[index].lost:
            raise NVMLError_GpuIsLost("GPU is lost")
        return self.cards[index]

    def nvmlDeviceGetMigMode(self, card):  # noqa: N802
        if card.capability < (8, 0):
            raise NVMLError_NotSupported("Not Supported")
        on = int(card.slices is not None)
        return [on, on]

    def nvmlDeviceGetMaxMigDeviceCount(self, card):  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card, index):  # noqa: N802
        if index >= len(card.slices) or card.slices[index] is None:
            raise NVMLError_NotFound("Not Found")
        return card.slices[index]

    def nvmlDeviceGetName(self, card):  # noqa: N802
        return card.name

    def nvmlDeviceGetUUID(self, card):  # noqa: N802
        return card.uuid

    def nvmlDeviceGetMemoryInfo(self, card):  # noqa: N802
        if card.unified:
            raise NVMLError_NotSupported("Not Supported")
        return SimpleNamespace(total=card.total, free=card.free, used=card.total - card.free)

    def nvmlDeviceGetCudaComputeCapability(self, card):  # noqa: N802
        return card.capability

    def nvmlDeviceGetComputeRunningProcesses(self, card):  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in card.processes]

    def nvmlDeviceGetGraphicsRunningProcesses(self, card):  # noqa: N802
        raise NVMLError_NotSupported("Not Supported")
