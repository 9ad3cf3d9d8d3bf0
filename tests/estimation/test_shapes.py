"""What is remembered of operations on meta tensors is what running them gives."""

import pytest
import torch

from autopeft.estimation.tracing import shapes
from autopeft.estimation.tracing.shapes import on_meta

aten = torch.ops.aten


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def form(out):
    tensors = out if isinstance(out, tuple) else (out,)
    return [(t.shape, t.stride(), t.dtype, t.storage_offset(), t.untyped_storage().nbytes()) for t in tensors]


FUNCTIONAL = {
    "product": (aten.mm.default, lambda: (meta(3, 5), meta(7, 5).t())),
    "promotion": (aten.add.Tensor, lambda: (meta(3, 5, dtype=torch.bfloat16), meta(5))),
    "a scalar": (aten.mul.Tensor, lambda: (meta(3, dtype=torch.int64), 2.0)),
    "a scalar of another type": (aten.mul.Tensor, lambda: (meta(3, dtype=torch.int64), 2)),
    "several outputs": (aten.native_layer_norm.default, lambda: (meta(2, 8), [8], meta(8), meta(8), 1e-5)),
    "a list of tensors": (aten.cat.default, lambda: ([meta(2, 3), meta(4, 3)],)),
    "layout of the input": (aten.neg.default, lambda: (meta(4, 6).t(),)),
    "a copy": (aten._to_copy.default, lambda: (meta(4, 6).t(),)),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_outputs_are_those_of_the_operation(monkeypatch, name):
    """Shape, layout, dtype and memory agree with running it, and every output has memory of its own."""
    monkeypatch.setattr(shapes, "_outcomes", {})
    func, arguments = FUNCTIONAL[name]
    expected = form(func(*arguments()))
    assert form(on_meta(func, arguments(), {})) == expected
    assert len(shapes._outcomes) == 1
    assert form(on_meta(func, arguments(), {})) == expected


def test_a_known_outcome_is_not_worked_out_again(monkeypatch):
    """The second operation alike is not run at all; one of another shape is."""
    monkeypatch.setattr(shapes, "_outcomes", {})
    on_meta(aten.mm.default, (meta(2, 3), meta(3, 4)), {})
    (key,) = shapes._outcomes
    shapes._outcomes[key] = shapes._Fresh((9, 9), (9, 1), torch.float32)
    assert on_meta(aten.mm.default, (meta(2, 3), meta(3, 4)), {}).shape == (9, 9)
    assert on_meta(aten.mm.default, (meta(2, 3), meta(3, 5)), {}).shape == (2, 5)


def test_what_shares_memory_goes_on_sharing_it():
    """A view, and a reshape that turns out to be one, lie in their input's memory every time."""
    for func, size in ((aten.view.default, [6]), (aten._unsafe_view.default, [6])):
        for _ in range(2):
            given = meta(2, 3)
            assert on_meta(func, (given, size), {}).untyped_storage()._cdata == given.untyped_storage()._cdata


def test_a_change_in_place_returns_its_tensor_and_one_of_its_size_is_made():
    """`add_` gives the tensor itself; `resize_` has to run, because it changes what the tensor is."""
    for _ in range(2):
        given = meta(2, 3)
        assert on_meta(aten.add_.Tensor, (given, meta(3)), {}) is given
        assert on_meta(aten.resize_.default, (given, [5, 5]), {}).shape == (5, 5)
        assert given.untyped_storage().nbytes() == 100


def test_an_error_is_not_remembered():
    """Shapes that do not fit are refused each time."""
    for _ in range(2):
        with pytest.raises(RuntimeError, match="reduction dim"):
            on_meta(aten.mm.default, (meta(2, 3), meta(2, 3)), {})
