"""What was recorded, as values without torch: blocks, events with the layer they belong to, and operations."""

from dataclasses import dataclass
from typing import NamedTuple

from autopeft.estimation.trace import Kind, PhaseName, Pool


@dataclass(slots=True)
class RecordedBlock:
    """One storage.

    Attributes:
        layer: transformer layer that allocated it or that it belongs to; None outside the layers.
        alive: whether it has not been freed by the end of the recording.
    """

    bytes: int
    kind: Kind
    pool: Pool
    layer: int | None
    alive: bool = True


class RecordedEvent(NamedTuple):
    """An allocation or a release; its time is its position."""

    block: int
    allocates: bool
    layer: int | None


@dataclass(frozen=True, slots=True)
class RecordedOperation:
    """Operations alike in everything, in one layer.

    Attributes:
        flops: of all rows traced.
        fixed_bytes: bytes moved whatever the rows, such as weights.
        row_bytes: bytes moved for all rows traced.
    """

    name: str
    flops: float
    fixed_bytes: float
    row_bytes: float
    dtype: str
    phase: PhaseName
    layer: int | None
    count: int


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recorded run.

    Attributes:
        phases: name and index of the first event.
        rows: rows of the batch that was traced. A prime that divides no other size tells what scales with rows;
            1 where nothing is to be scaled.
    """

    blocks: tuple[RecordedBlock, ...]
    events: tuple[RecordedEvent, ...]
    phases: tuple[tuple[PhaseName, int], ...]
    operations: tuple[RecordedOperation, ...]
    rows: int = 1
