"""Follows the life of every storage and counts what operations compute, on meta tensors or on real ones.

Imported by functions only: it needs torch at import.
"""

import weakref
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autopeft.estimation.trace import Kind, PhaseName, Pool
from autopeft.estimation.tracing.recording import RecordedBlock, RecordedEvent, RecordedOperation, Recording
from autopeft.estimation.tracing.shapes import on_meta
from autopeft.estimation.tracing.work import operation_flops

_ACCUMULATES = (1 << 64) - 1
"""Sequence number of the nodes that add a gradient to a parameter."""

_CAST = torch.ops.aten._to_copy.default
_ANY = torch.ops.aten.any.default
_PLACES = torch.ops.aten.nonzero.default
_SCALAR = torch.ops.aten._local_scalar_dense.default

_STANDING: frozenset[Kind] = frozenset({"weights", "adapter", "gradients", "optimizer_state"})


class Recorder(TorchDispatchMode):
    """Records allocations, releases and operations while it is active.

    Every event carries the transformer layer it belongs to, so that layers alike can be repeated. Inside a layer's
    forward or backward that is the layer that runs; elsewhere it is the layer that owns what is touched.

    Attributes:
        counting: whether operations are counted now.
        shared: whether a layer has used a weight that is not its own.
        stepped: whether an optimizer step is done; for the caller's use.
        asked: whether the program asked for numbers that meta tensors do not have; it was told 0, or where values
            are not zero: everywhere.
    """

    def __init__(self, *, device: str = "meta", rows: int = 1, language_width: int = 0, padded: bool = False) -> None:
        """Prepares an empty recording.

        Args:
            device: type of the device whose memory is followed.
            rows: rows of the batch that will be traced.
            language_width: size of the vocabulary; what is that wide and no weight counts as logits and loss.
            padded: the answer to "is every position of the mask a token?" is no; meta tensors cannot tell.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.blocks: list[RecordedBlock] = []
        self.events: list[RecordedEvent] = []
        self.phases: list[tuple[PhaseName, int]] = []
        self.counting = self.asked = self.stepped = self.shared = False
        self._work: Counter[RecordedOperation] = Counter()
        self._device = device
        self._rows, self._width, self._padded = rows, language_width, padded
        self._mask: set[int] = set()
        self._exceptions: set[int] = set()
        self._known: dict[int, int] = {}
        self._watch: dict[int, Any] = {}
        self._casts: set[int] = set()
        self._layer: int | None = None
        self._running: int | None = None
        self._leaving = False
        self._borders: list[int] = [0]
        self._border_layers: list[int | None] = [None]
        self._kind: Kind | None = None
        self._pool: Pool = "device"
        self._adopted: int | None = None

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the guard against it would stand around every operation

    # What surrounds the operations.

    def phase(self, name: PhaseName) -> None:
        """Begins a phase."""
        self.phases.append((name, len(self.events)))
        self._layer = self._running = None
        self._leaving = False

    def enter_layer(self, layer: int | None) -> None:
        """Notes that the forward of a layer begins, or with None that it has ended.

        What is freed before the next operation still belongs to it: its input, which its caller lets go of.
        """
        self._leaving = layer is None
        if layer is not None:
            self._running = self._layer = layer
        self._borders.append(torch._C._autograd._get_sequence_nr())
        self._border_layers.append(layer)

    def leave(self) -> None:
        """Notes that no layer runs any more: what is freed now belongs to the layer that allocated it."""
        self._running = self._layer = None

    @contextmanager
    def storing(self, kind: Kind, pool: Pool = "device") -> Iterator[None]:
        """Marks what is allocated inside as of a kind."""
        before = self._kind, self._pool
        self._kind, self._pool = kind, pool
        try:
            yield
        finally:
            self._kind, self._pool = before

    @contextmanager
    def within(self, layer: int | None) -> Iterator[None]:
        """Ascribes what happens inside to a layer."""
        before = self._running, self._layer
        self._running = self._layer = layer
        try:
            yield
        finally:
            self._running, self._layer = before

    def own(self, tensor: torch.Tensor, kind: Kind, layer: int | None) -> None:
        """Counts a tensor's storage as allocated now, under this kind and layer; once per storage."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known and storage.nbytes():
            with self.within(layer), self.storing(kind):
                self._allocate(storage, tensor)

    def mark_mask(self, tensor: torch.Tensor) -> None:
        """Notes a mask of the batch: what is asked of it, or of what is made of it, is whether rows are padded."""
        self._mask.add(tensor.untyped_storage()._cdata)

    def relabel(self, tensor: torch.Tensor, kind: Kind) -> None:
        """Changes the kind of a storage that is known: a gradient is known as one only once it has been kept."""
        found = self.block_of(tensor)
        if found is not None:
            self.blocks[found].kind = kind

    def block_of(self, tensor: torch.Tensor) -> int | None:
        """Returns the block of a known storage."""
        return self._known.get(tensor.untyped_storage()._cdata)

    @contextmanager
    def adopting(self, block: int) -> Iterator[None]:
        """Takes the storage made inside for a block that is there already."""
        self._adopted = block
        try:
            yield
        finally:
            self._adopted = None

    def forget_work(self) -> None:
        """Drops what was counted so far."""
        self._work.clear()

    def layer_of(self, tensor: torch.Tensor) -> int | None:
        """Returns the layer that a known storage belongs to."""
        found = self.block_of(tensor)
        return None if found is None else self.blocks[found].layer

    def end_of_forward(self) -> None:
        """Marks what a forward pass has left alive as kept for the backward pass."""
        start = self.phases[-1][1]
        for event in self.events[start:]:
            block = self.blocks[event.block]
            if event.allocates and block.alive and block.kind == "temporaries":
                block.kind = "activations"

    def recording(self) -> Recording:
        """Returns what was recorded so far."""
        counted = sorted(self._work.items(), key=lambda item: str(item[0]))
        work = tuple(replace(operation, count=count) for operation, count in counted)
        return Recording(
            blocks=tuple(self.blocks),
            events=tuple(self.events),
            phases=tuple(self.phases),
            operations=work,
            rows=self._rows,
        )

    # Operations.

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation, records the storages it makes and, while counting, its work."""
        # What looks at a tensor here is not the program's doing: no mode of torch's functions need hear of it.
        with torch._C.DisableTorchFunction():
            return self._run(func, args, kwargs or {})

    def _run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if func is _SCALAR and args[0].is_meta:
            return self._answer(args[0])
        self.asked = self.asked or func is _PLACES
        self._locate(args)
        out = on_meta(func, args, kwargs) if self._device == "meta" else func(*args, **kwargs)
        made = False
        for tensor in _tensors(out):
            made = self._see(tensor) or made
            if self._mask and any(self._masks(given) for given in _tensors(args)):
                self.mark_mask(tensor)
        if func is _CAST and made:
            self._note_cast(args[0], out)
        if func is _ANY:
            self._exceptions.add(out.untyped_storage()._cdata)
        if self.counting and (made or not func.is_view):
            self._count(func, args, out)
        return out

    def _note_cast(self, weight: torch.Tensor, cast: torch.Tensor) -> None:
        """Notes a copy of a weight in another dtype: it belongs to the layer of the weight as that does."""
        found = self.block_of(weight)
        if found is not None and self.blocks[found].kind in _STANDING and self.blocks[found].layer is not None:
            self._casts.add(self._known[cast.untyped_storage()._cdata])

    def _masks(self, tensor: torch.Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._mask

    def _answer(self, tensor: torch.Tensor) -> bool | int:
        if tensor.dtype == torch.bool:
            # Of masks that the model makes itself, full ones, "is every position a token?" is true; "is any value
            # infinite?" and the like are not.
            data = tensor.untyped_storage()._cdata
            return data not in self._exceptions and not (self._padded and self._masks(tensor))
        self.asked = True
        return 0

    def work(self, name: str, flops: float, sizes: Iterable[int], dtype: str) -> None:
        """Counts the work of a kernel; sizes are the bytes of each tensor that it reads or writes."""
        if not self.counting:
            return
        by_rows = [0, 0]
        for size in sizes:
            by_rows[self._rows > 1 and size % self._rows == 0] += size
        fixed, scaled = map(float, by_rows)
        phase = self.phases[-1][0]
        self._work[RecordedOperation(name, float(flops), fixed, scaled, dtype, phase, self._layer, 1)] += 1

    def _count(self, func: Any, args: Any, out: Any) -> None:
        outputs = list(_tensors(out))
        sizes = (t.numel() * t.element_size() for t in (*_tensors(args), *outputs))
        dtype = str(outputs[0].dtype).removeprefix("torch.") if outputs else ""
        self.work(func._schema.name.removeprefix("aten::"), operation_flops(func, args, outputs), sizes, dtype)

    def _see(self, tensor: torch.Tensor) -> bool:
        if tensor.device.type != self._device:
            return False
        storage = tensor.untyped_storage()
        if storage._cdata in self._known or not storage.nbytes():
            return False
        self._allocate(storage, tensor)
        return True

    def _allocate(self, storage: torch.UntypedStorage, tensor: torch.Tensor) -> None:
        number = self._adopted
        if number is None:
            number = self._recorded(storage, tensor)
        self._known[storage._cdata] = number
        self._watch[number] = weakref.ref(storage, partial(self._released, storage._cdata, number))

    def _recorded(self, storage: torch.UntypedStorage, tensor: torch.Tensor) -> int:
        number = len(self.blocks)
        block = RecordedBlock(storage.nbytes(), self._kind or self._guess(tensor), self._pool, self._layer)
        self.blocks.append(block)
        self.events.append(RecordedEvent(number, allocates=True, layer=self._layer))
        return number

    def _guess(self, tensor: torch.Tensor) -> Kind:
        if self._width and tensor.dim() > 1 and tensor.shape[-1] == self._width and self._running is None:
            return "logits_and_loss"
        if self.phases and self.phases[-1][0] == "backward" and torch.is_grad_enabled():
            return "activations"  # recomputed by gradient checkpointing
        return "temporaries"

    def _released(self, data: int, number: int, _reference: Any) -> None:
        self._known.pop(data, None)
        self._mask.discard(data)
        self._exceptions.discard(data)
        self._watch.pop(number, None)
        block = self.blocks[number]
        block.alive = False
        if self._running is not None:
            layer: int | None = self._running
        else:
            layer = self._layer if block.layer is None else block.layer
        self.events.append(RecordedEvent(number, allocates=False, layer=layer))

    # Which layer an operation belongs to.

    def _locate(self, args: Any) -> None:
        if self._leaving:
            self._running = self._layer = None
            self._leaving = False
        node = torch._C._current_autograd_node()
        if node is not None and not torch.is_grad_enabled():
            number = node._sequence_nr()
            if number == _ACCUMULATES:
                self._accumulate(node.variable)  # type: ignore[attr-defined]
                return
            if number >= self._borders[-1] and self._running is not None:
                return  # recomputed by reentrant checkpointing, inside the backward of its layer
            self._running = self._border_layers[bisect_right(self._borders, number) - 1]
            if self._running is not None:
                self._layer = self._running
                return
        if self._running is None:
            self._layer = self._owner(args, self._layer)
        elif not self.shared and not self.stepped:
            self.shared = self._uses_outer_weight(args)

    def _accumulate(self, leaf: torch.Tensor) -> None:
        """Goes to the layer of a parameter that gets its gradient.

        The input of a layer that reentrant checkpointing recomputes gets one too: that layer's work, though the input
        is of the layer before.
        """
        number = self.block_of(leaf)
        if number is None or self.blocks[number].kind in _STANDING:
            self._running = self._layer = None if number is None else self.blocks[number].layer

    def _uses_outer_weight(self, args: Any) -> bool:
        numbers = (self._known.get(tensor.untyped_storage()._cdata) for tensor in _tensors(args))
        blocks = (self.blocks[number] for number in numbers if number is not None)
        return any(block.layer != self._running and block.kind in _STANDING for block in blocks)

    def _owner(self, args: Any, otherwise: int | None) -> int | None:
        for tensor in _tensors(args):
            number = self._known.get(tensor.untyped_storage()._cdata)
            if number is not None:
                block = self.blocks[number]
                if block.layer is not None and (block.kind in _STANDING or number in self._casts):
                    return block.layer
        return otherwise


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.layout is torch.strided:  # sparse tensors have no storage of their own; their parts pass by themselves
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
