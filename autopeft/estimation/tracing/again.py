"""The second pass over a batch, written down from the first: the same events on blocks of their own.

Imported by functions only: it needs torch at import.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from autopeft.estimation.tracing.recorder import Recorder
from autopeft.estimation.tracing.recording import RecordedEvent


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A recorded forward and backward pass.

    Attributes:
        start: its first event.
        end: the event after its last.
        gradients: each parameter that has one, with the block of its gradient.
    """

    start: int
    end: int
    gradients: tuple[tuple[Any, int], ...]


def passed(recorder: Recorder, start: int, trained: Sequence[Any]) -> Pass:
    """Returns the pass that has just ended and left its gradients; it began with the event ``start``."""
    found = ((parameter, recorder.block_of(parameter.grad)) for parameter in trained if parameter.grad is not None)
    gradients = tuple((parameter, block) for parameter, block in found if block is not None)
    return Pass(start=start, end=len(recorder.events), gradients=gradients)


def repeat(recorder: Recorder, first: Pass) -> bool:
    """Records a pass once more, after the step that followed it, and leaves its gradients; returns whether it could.

    What a pass frees of its own, it makes again; what it made and nobody has freed since, such as a cache, stays as
    it is. Where the step freed anything of it but the gradients, nothing is recorded: the pass has to be run.
    """
    events, blocks = recorder.events[first.start : first.end], recorder.blocks
    made = {event.block for event in events if event.allocates}
    gradients = {block for _, block in first.gradients}
    freed = {event.block for event in events if not event.allocates}
    lasting = made - freed - gradients
    if len(gradients) < len(first.gradients) or gradients - made or any(not blocks[block].alive for block in lasting):
        return False
    again: dict[int, int] = {}
    borders = {index: name for name, index in recorder.phases if first.start <= index < first.end}
    for place, event in enumerate(events, first.start):
        if place in borders:
            recorder.phases.append((borders[place], len(recorder.events)))
        if event.allocates and event.block not in lasting:
            again[event.block] = len(blocks)
            blocks.append(replace(blocks[event.block], alive=event.block in gradients))
        if event.block in again:
            recorder.events.append(RecordedEvent(again[event.block], event.allocates, event.layer))
    for parameter, block in first.gradients:
        with recorder.adopting(again[block]):
            parameter.grad = torch.empty_like(parameter)
    return True
