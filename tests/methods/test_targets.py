"""Which modules and layers a setup selects."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.methods._targets import (
    GROUPS,
    linear_modules,
    selected_layers,
    target_modules,
    target_violations,
)
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.names import Role
from autopeft.values.profiles import ModelProfile, ModuleShape

ROLES: tuple[tuple[str, Role], ...] = (
    ("query", "query"), ("key", "key"), ("value", "value"), ("output", "output"), ("up", "up"), ("down", "down"),
)  # fmt: skip


def _module(name: str, role: Role, layer: int | None, **changes) -> ModuleShape:
    given = {"in_features": 8, "out_features": 6, "bias": False, "parameters": 48, "kind": "linear", **changes}
    return ModuleShape(name=name, role=role, layer=layer, **given)


def _model(layers: int) -> ModelProfile:
    inside = [_module(f"body.{layer}.{name}", role, layer) for layer in range(layers) for name, role in ROLES]
    modules = (
        _module("body.words", "embedding", None, kind="embedding"), *inside,
        _module("body.0.norm", "norm", 0, kind="norm"), _module("score", "head", None, head=True),
        _module("lm_head", "other", None),
    )  # fmt: skip
    return ModelProfile(
        source="x", fingerprint="0" * 64, model_type="x", architecture="X", kind="encoder", tasks=("classification",),
        parameters=1, layers=layers, hidden_size=8, feed_forward_size=8, attention_heads=1, key_value_heads=1,
        head_size=8, vocabulary_size=9, tied_embeddings=False, max_positions=None, weight_bytes=None,
        weight_format="none", task="classification", labels=2, modules=modules,
    )  # fmt: skip


def _setup(depth: int = 4, **choice) -> Setup:
    candidate = Candidate(method="x", learning_rate=1e-3, **choice)
    return Setup(model=_model(depth), task="classification", candidate=candidate)


def _names(**changes) -> set[str]:
    return {module.name for module in target_modules(_setup(2, **changes))}


def test_head_embedding_norm_and_output_are_never_targets():
    """``all-linear`` means the linear modules inside the layers, nothing outside."""
    assert len(linear_modules(_model(3))) == 18
    assert _names(targets="all-linear") == {f"body.{layer}.{name}" for layer in (0, 1) for name, _ in ROLES}


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("qv", {"query", "value"}),
        ("attention", {"query", "key", "value", "output"}),
        ("mlp", {"up", "down"}),
        ("query, down", {"query", "down"}),
        ("body.0.query", {"query"}),
    ],
)
def test_targets_select_by_role_or_by_name(targets, expected):
    """Words select by role; names select by the whole name or its last part, not by a piece of it."""
    assert {name.split(".")[-1] for name in _names(targets=targets)} == expected
    assert len(_names(targets=targets)) == (1 if targets.startswith("body") else 2 * len(expected))


def test_a_piece_of_a_name_selects_nothing():
    """``uery`` is no module although ``query`` ends with it; the close match is offered."""
    assert "Did you mean 'query'?" in target_violations(_setup(targets="uery"))[0]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("all", (0, 1, 2, 3)), ("last:1", (3,)), ("last:4", (0, 1, 2, 3)), ("every:2", (1, 3)), ("every:3", (0, 3))],
)
def test_layers_count_from_the_output(layers, expected):
    """``last:K`` takes the K nearest the output; ``every:N`` always keeps the last one."""
    assert selected_layers(_model(4), Candidate(method="x", learning_rate=1e-3, layers=layers)) == expected


def test_gradient_layers_keep_their_count_until_they_are_known():
    """Before the gradients are measured ``gradient:K`` stands for K layers, so that estimates hold."""
    open_ = Candidate(method="x", learning_rate=1e-3, layers="gradient:2")
    assert selected_layers(_model(4), open_) == (2, 3)
    assert selected_layers(_model(4), replace(open_, layer_indices=(0, 2))) == (0, 2)


@pytest.mark.parametrize(
    "layers", ["first:1", "last", "last:0", "last:-1", "last:x", "all:2", "every:", "last:1.5", ""]
)
def test_malformed_layers_are_said(layers):
    """A selection of layers that cannot be read is a violation, not a crash."""
    found = target_violations(_setup(layers=layers))
    assert "`layers` must be all, last:K, every:N or gradient:K" in found[0]


def test_more_layers_than_there_are_is_said():
    """Asking for more layers than the model has names both numbers."""
    found = target_violations(_setup(layers="last:9"))
    assert found == ("`layers` is 'last:9', but the model has 4 layers.",)


def test_names_outside_the_layers_are_no_targets():
    """The head and the output embedding cannot be named as targets."""
    assert "is no linear module" in target_violations(_setup(targets="score"))[0]
    assert "is no linear module" in target_violations(_setup(targets="lm_head"))[0]


@given(depth=st.integers(1, 40), count=st.integers(1, 40), kind=st.sampled_from(["last", "every", "gradient"]))
def test_a_selection_without_violation_selects_something(depth, count, kind):
    """Whatever passes the check selects at least one layer, inside the model, ascending, without repeats."""
    model = replace(_model(1), layers=depth)
    candidate = Candidate(method="x", learning_rate=1e-3, layers=f"{kind}:{count}")
    setup = Setup(model=model, task="classification", candidate=candidate)
    if count > depth:
        assert target_violations(setup)
        return
    chosen = selected_layers(model, candidate)
    assert chosen
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(range(depth))
    assert depth - 1 in chosen


def test_every_group_is_a_word_for_targets():
    """All words for targets select something in a plain transformer."""
    assert {group for group in GROUPS if not target_violations(_setup(targets=group))} == set(GROUPS)
