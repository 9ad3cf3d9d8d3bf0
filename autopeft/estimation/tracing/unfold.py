"""From a recording of a few layers and a stand-in number of rows to the trace of the whole model: pure Python.

Layers alike do alike: the last unit but one of a run is repeated, event by event, as often as the whole model has
it. A copy frees what its own layer allocated, what the layer before it did and what the layer after it did, each
found by where the events of the unit before point.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from autopeft.estimation.trace import Block, Operation, Phase, PhaseName, Trace
from autopeft.estimation.tracing.depth import DepthPlan
from autopeft.estimation.tracing.recording import RecordedEvent, Recording

Instance = tuple[int, int]
"""A recorded block and which copy of it: 0 is the recorded one."""


class UnlikeLayersError(Exception):
    """Layers taken for alike did not do the same: the whole depth has to be traced."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows per batch that a recording is unfolded for."""

    training: int
    evaluation: int

    def of(self, phase: PhaseName) -> int:
        """Returns the rows of a phase's batch."""
        return self.evaluation if phase == "evaluation" else self.training


@dataclass(frozen=True)
class _Group:
    """Events on end, from ``start`` to before ``end``, that belong to one unit of one run, or to none."""

    run: int | None
    unit: int
    start: int
    end: int


def unfold(
    recording: Recording, plan: DepthPlan, rows: Rows, *, trainable: int, total: int, notes: tuple[str, ...] = ()
) -> Trace:
    """Returns the trace of the whole model.

    Args:
        recording: of the layers in the plan.
        plan: which layers were kept, and how often they repeat.
        rows: what the batches really have.
        trainable: trained parameters of the whole model.
        total: all its parameters.
        notes: carried over.

    Raises:
        UnlikeLayersError: a unit of a run does something else than the one before it.
    """
    starts = {index: number for number, (_, index) in reversed(list(enumerate(recording.phases)))}
    times = [0] * len(recording.phases)
    begins: dict[Instance, int] = {}
    ends: dict[Instance, int] = {}
    time = 0
    for place, instance, allocates in _stream(recording, plan):
        if place in starts:
            times[starts.pop(place)] = time
        (begins if allocates else ends)[instance] = time
        time += 1
    for number in starts.values():
        times[number] = time
    sizes, blocks = _sizes(recording, rows), recording.blocks
    return Trace(
        blocks=tuple(
            Block(sizes[b], blocks[b].kind, begin, ends.get((b, copy)), blocks[b].pool)
            for (b, copy), begin in begins.items()
        ),
        phases=tuple(Phase(name, at) for (name, _), at in zip(recording.phases, times, strict=True)),
        operations=_operations(recording, plan, rows),
        trainable_parameters=trainable,
        total_parameters=total,
        notes=notes,
    )


def _sizes(recording: Recording, rows: Rows) -> list[int]:
    """Returns every block's bytes for the rows it will have; a block scales where the traced rows divide it."""
    traced = recording.rows
    sizes = [block.bytes for block in recording.blocks]
    if traced == 1:
        return sizes
    bounds = [*(index for _, index in recording.phases[1:]), len(recording.events)]
    at = 0
    for place, event in enumerate(recording.events):
        while place >= bounds[at]:
            at += 1
        size = sizes[event.block]
        if event.allocates and size % traced == 0:
            sizes[event.block] = size // traced * rows.of(recording.phases[at][0])
    return sizes


def _stream(recording: Recording, plan: DepthPlan) -> Iterator[tuple[int, Instance, bool]]:
    """Yields every event of the whole model: where it stands in the recording, its block, whether it allocates."""
    events = recording.events
    groups = _groups(recording, plan)
    homes = {
        events[place].block: (group.run, group.unit)
        for group in groups
        for place in range(group.start, group.end)
        if events[place].allocates
    }
    twins, above = _twins(recording, groups, plan)
    for number, group in enumerate(groups):
        places = range(group.start, group.end)
        if group.run is None or group.unit != _template(plan, group.run):
            yield from _recorded(events, group, homes, plan)
            continue
        repeats, template = plan.runs[group.run].repeats, group.unit
        copies = range(repeats + 1)
        for copy in copies if _ascends(groups, number) else reversed(copies):
            for place in places:
                event = events[place]
                mirror = events[twins[place]].block
                home, own = homes[event.block], group.run
                if home == (own, template):
                    instance = (event.block, copy)
                elif home == (own, template - 1):
                    instance = (above[event.block], copy - 1) if copy else (event.block, 0)
                elif home == (own, template + 1) and homes[mirror] == (own, template):
                    instance = (event.block, 0) if copy == repeats else (mirror, copy + 1)
                else:
                    raise UnlikeLayersError("A repeated layer frees what stands outside it.")
                yield group.start, instance, event.allocates


def _template(plan: DepthPlan, run: int) -> int:
    """Returns the position of the unit that is repeated among those kept of a run."""
    return plan.runs[run].units - 2


def _recorded(
    events: tuple[RecordedEvent, ...], group: _Group, homes: dict[int, tuple[int | None, int]], plan: DepthPlan
) -> Iterator[tuple[int, Instance, bool]]:
    for place in range(group.start, group.end):
        event = events[place]
        run, unit = homes[event.block]
        copy = 0
        if run is not None and unit == _template(plan, run):
            if group.run != run:
                raise UnlikeLayersError("What repeated layers hold is freed outside them.")
            copy = plan.runs[run].repeats if group.unit == unit + 1 else 0
        yield place, (event.block, copy), event.allocates


def _groups(recording: Recording, plan: DepthPlan) -> list[_Group]:
    places: dict[int, tuple[int, int]] = {}
    for number, run in enumerate(plan.runs):
        for unit in range(run.units):
            first = run.start + unit * run.length
            places |= dict.fromkeys(range(first, first + run.length), (number, unit))
    borders = {index for _, index in recording.phases}
    groups: list[_Group] = []
    start, current = 0, None
    for place, event in enumerate(recording.events):
        here = places.get(event.layer) if event.layer is not None else None
        if place and (here != current or place in borders):
            groups.append(_group(current, start, place))
            start = place
        current = here
    return [*groups, _group(current, start, len(recording.events))]


def _group(place: tuple[int, int] | None, start: int, end: int) -> _Group:
    run, unit = place if place is not None else (None, 0)
    return _Group(run, unit, start, end)


def _twins(recording: Recording, groups: list[_Group], plan: DepthPlan) -> tuple[dict[int, int], dict[int, int]]:
    """Returns for each event of a repeated unit the same one in the unit before it, and for that one's blocks theirs.

    Raises:
        UnlikeLayersError: there is none.
    """
    events, blocks = recording.events, recording.blocks
    twins: dict[int, int] = {}
    above: dict[int, int] = {}
    for run in range(len(plan.runs)):
        unit = _template(plan, run)
        lower, upper = ([g for g in groups if g.run == run and g.unit == unit - back] for back in (1, 0))
        if len(lower) != len(upper):
            raise UnlikeLayersError("Two layers alike are touched a different number of times.")
        for one, other in zip(lower, upper, strict=True):
            if one.end - one.start != other.end - other.start:
                raise UnlikeLayersError("Two layers alike make a different number of allocations.")
            for below, place in zip(range(one.start, one.end), range(other.start, other.end), strict=True):
                a, b = events[below], events[place]
                same = a.allocates == b.allocates and blocks[a.block].bytes == blocks[b.block].bytes
                if not same or blocks[a.block].kind != blocks[b.block].kind:
                    raise UnlikeLayersError("Two layers alike allocate differently.")
                twins[place] = below
                if a.allocates:
                    above[a.block] = b.block
    return twins, above


def _ascends(groups: list[_Group], number: int) -> bool:
    """Whether layers are passed upwards around a group: the unit before came just before it."""
    group = groups[number]
    for step in (-1, 1):
        at = number + step
        while 0 <= at < len(groups) and groups[at].run is None:
            at += step
        if 0 <= at < len(groups) and groups[at].run == group.run:
            return groups[at].unit == group.unit + step
    return True


def _operations(recording: Recording, plan: DepthPlan, rows: Rows) -> tuple[Operation, ...]:
    """Returns the operations of the whole model for the rows it will have, like ones counted together."""
    repeated = {layer: run.repeats for run in plan.runs for layer in run.template}
    found: Counter[tuple[str, float, float, str, PhaseName]] = Counter()
    for work in recording.operations:
        share = rows.of(work.phase) / recording.rows if recording.rows > 1 else 1.0
        scales = recording.rows > 1 and work.flops % recording.rows == 0
        flops = work.flops * share if scales else work.flops
        moved = work.fixed_bytes + work.row_bytes * share
        times = 1 + repeated.get(work.layer, 0) if work.layer is not None else 1
        found[work.name, flops, moved, work.dtype, work.phase] += work.count * times
    return tuple(Operation(*key, count=count) for key, count in found.items())
