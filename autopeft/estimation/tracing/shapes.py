"""What operations give on the meta device, worked out once for inputs of the same shapes.

torch works most shapes out in Python, which takes longer than all else in a trace; layers alike, and candidates for
one model, ask for the same ones again and again.

Imported by functions only: it needs torch at import.
"""

from collections.abc import Hashable
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

_MOST = 50_000
"""Outcomes remembered, after which all are forgotten: far more than a search over one model asks for."""

_ADD = torch.ops.aten.add_.Tensor
_SPARSE_MASK = torch.ops.aten.sparse_mask.default

_DEPENDS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})

_IMMUTABLE = frozenset({int, float, bool, str, torch.dtype, torch.device, torch.layout, torch.memory_format})


class _Fresh(NamedTuple):
    """A tensor with a storage of its own that holds nothing else."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


_Outcome = _Fresh | tuple[_Fresh, ...] | Literal["first"]
"""New tensors, or the first argument, changed in place."""

_outcomes: dict[Hashable, _Outcome | None] = {}


def on_meta(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Returns what an operation returns on meta tensors, without running it where the outcome is known.

    What shares memory with an input, depends on numbers or gives a tensor of unusual layout is always run.
    """
    if func is _SPARSE_MASK:
        return _masked(*args)
    if func is _ADD and isinstance(args[1], Tensor) and args[1].layout is torch.sparse_coo:
        return args[0]  # torch has no meta kernel for it; the sum is made in place
    way = _way(func)
    key = None if way is None else _key(func, args, kwargs)
    if key is None:
        return func(*args, **kwargs)
    known = _outcomes.get(key, _UNKNOWN)
    if known is _UNKNOWN:
        before = _form(args[0]) if way == "in place" else None
        out = func(*args, **kwargs)
        if len(_outcomes) >= _MOST:
            _outcomes.clear()
        _outcomes[key] = _fresh_outputs(args, out) if before is None else _unchanged(args[0], before, out)
        return out
    if known is None:
        return func(*args, **kwargs)
    if known == "first":
        return args[0]
    if isinstance(known, _Fresh):
        return _made(known)
    return tuple(_made(each) for each in known)


_UNKNOWN: Any = object()


def _masked(dense: Tensor, mask: Tensor) -> Tensor:
    """Returns the values of a tensor at the places of a sparse one, for which torch has no meta kernel."""
    values = torch.empty_like(mask._values(), dtype=dense.dtype)
    return torch.sparse_coo_tensor(mask._indices(), values, mask.shape, check_invariants=False)


def _made(form: _Fresh) -> Tensor:
    return torch.empty_strided(form.shape, form.stride, dtype=form.dtype, device="meta")


@cache
def _way(func: Any) -> Literal["new", "in place"] | None:
    """Returns what an operation does with memory, None where its outcome is not to be remembered."""
    schema = func._schema
    if _DEPENDS & set(func.tags) or func.is_view:
        return None
    written = [argument.alias_info is not None and argument.alias_info.is_write for argument in schema.arguments]
    if not any(written):
        return "new" if all(each.alias_info is None for each in schema.returns) else None
    first = schema.name.endswith("_") and sum(written) == 1 and written[0] and len(schema.returns) == 1
    return "in place" if first else None


def _key(func: Any, args: Any, kwargs: dict[str, Any]) -> Hashable | None:
    """Returns what decides an operation's outcome; None where something else does too."""
    parts: list[Any] = [func, torch.get_default_dtype()]
    found = _describe(args, parts)
    for name, value in kwargs.items():
        parts.append(name)
        found = _describe((value,), parts) or found
    return tuple(parts) if found and _OTHER not in parts else None


_OTHER: Any = object()


def _describe(values: Any, parts: list[Any]) -> bool:
    """Adds what is to be known of values; returns whether a meta tensor is among them."""
    found = False
    for value in values:
        if value is None:
            parts.append(None)
        elif isinstance(value, Tensor):
            if value.layout is not torch.strided or not (value.is_meta or value.dim() == 0) or value.is_complex():
                parts.append(_OTHER)
                continue
            found = found or value.is_meta
            parts += (value.dtype, value.is_meta, tuple(value.shape), value.stride())
        elif isinstance(value, list | tuple):
            parts.append(len(value))
            found = _describe(value, parts) or found
        elif type(value) in _IMMUTABLE:
            parts += (type(value), value)
        else:
            parts.append(_OTHER)
    return found


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.untyped_storage().nbytes()


def _unchanged(first: Tensor, before: tuple[Any, ...], out: Any) -> Literal["first"] | None:
    return "first" if out is first and _form(first) == before else None


def _fresh_outputs(args: Any, out: Any) -> _Outcome | None:
    """Returns outputs that can be made again from their shapes; None where one cannot."""
    if isinstance(out, Tensor):
        return _fresh(out, _storages(args))
    if not isinstance(out, tuple):
        return None
    taken = _storages(args)
    made = []
    for each in out:
        form = _fresh(each, taken) if isinstance(each, Tensor) else None
        if form is None:
            return None
        made.append(form)
        taken.add(each.untyped_storage()._cdata)
    return tuple(made)


def _fresh(tensor: Tensor, taken: set[int]) -> _Fresh | None:
    if not tensor.is_meta or tensor.layout is not torch.strided:
        return None
    storage = tensor.untyped_storage()
    if storage._cdata in taken:
        return None
    form = _Fresh(tuple(tensor.shape), tensor.stride(), tensor.dtype)
    same = tensor.storage_offset() == 0 and storage.nbytes() == _made(form).untyped_storage().nbytes()
    return form if same and type(tensor) is Tensor else None


def _storages(values: Any) -> set[int]:
    found: set[int] = set()
    for value in values:
        if isinstance(value, Tensor):
            if value.layout is torch.strided:
                found.add(value.untyped_storage()._cdata)
        elif isinstance(value, list | tuple):
            found |= _storages(value)
    return found
