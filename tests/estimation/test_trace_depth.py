"""A few layers traced stand for all of them, and one batch for every size: event by event."""

from dataclasses import replace

import pytest

from autopeft.estimation.trace import events, peak
from autopeft.estimation.tracing import setup as tracing
from autopeft.estimation.tracing.depth import DepthPlan
from autopeft.estimation.tracing.unfold import Rows, UnlikeLayersError, unfold
from autopeft.methods import all_methods, get_method
from autopeft.profiling.model import read_model
from autopeft.values.candidates import Candidate, Setup
from tests.estimation.architectures import ARCHITECTURES, CPU, GPU, folder

TOKENS = 40


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path_factory.getbasetemp() / "traces"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "shapes"


def _setup(root, name, method="lora", **candidate):
    task = ARCHITECTURES[name][1]
    declared = get_method(method)
    parameters = {**declared.seeds[0].parameters, **({"rank": 4} if "rank" in declared.legal else {})}
    chosen = {"targets": "all-linear" if declared.capabilities.takes_targets else "none", "dtype": "bfloat16"}
    return Setup(
        model=read_model(str(folder(name, root)), task),
        task=task,
        candidate=Candidate(
            method=method, parameters=parameters, learning_rate=1e-3, batch_size=3, **{**chosen, **candidate}
        ),
    )


def _recorded(setup, plan, device=GPU, rows=tracing.STAND_IN_ROWS):
    request = tracing._Request(setup, TOKENS, device, padded=True)
    request.rows = rows
    return tracing._run(request, plan).recording


def _whole(setup):
    return DepthPlan(kept=tuple(range(setup.model.layers)), runs=())


def _same_as_whole_depth(setup):
    plan = tracing.depth_plan(setup)
    rows = Rows(training=3, evaluation=2)
    shallow = unfold(_recorded(setup, plan), plan, rows, trainable=0, total=0)
    whole = unfold(_recorded(setup, _whole(setup)), _whole(setup), rows, trainable=0, total=0)
    assert peak(shallow) == peak(whole)
    assert len(events(shallow)) == len(events(whole))
    assert shallow.blocks == whole.blocks
    assert shallow.phases == whole.phases
    assert sorted(map(repr, shallow.operations)) == sorted(map(repr, whole.operations))
    return plan


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_few_layers_give_the_whole_model(root, name):
    """Unfolding gives the very blocks, phases and operations of a trace of all layers."""
    setup = _setup(root, name)
    assert len(_same_as_whole_depth(setup).kept) < setup.model.layers


CHANGES: list[dict[str, object]] = [
    {"gradient_checkpointing": True},
    {"quantization": "nf4-double", "gradient_checkpointing": True, "optimizer": "paged_adamw_8bit"},
    {"quantization": "int8"},
    {"optimizer": "adamw_8bit", "accumulation": 4},
    {"layers": "last:6"},
    {"layers": "gradient:7", "layer_indices": (0, 1, 2, 3, 4, 5, 6)},
    {"method": "full"},
    {"method": "houlsby_adapter"},
    {"method": "dora"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_way_to_train_unfolds(root, change):
    """Checkpointing, quantization, accumulation, chosen layers and methods change the layers, but all alike."""
    assert len(_same_as_whole_depth(_setup(root, "llama", **change)).kept) < 9


def test_a_loop_over_all_layers_unfolds(root):
    """A loss over every adapter's weights, outside the layers, is repeated with them: same blocks, same peak."""
    setup = _setup(root, "llama", "adalora")
    plan, rows = tracing.depth_plan(setup), Rows(training=3, evaluation=2)
    shallow = unfold(_recorded(setup, plan), plan, rows, trainable=0, total=0)
    whole = unfold(_recorded(setup, _whole(setup)), _whole(setup), rows, trainable=0, total=0)
    assert peak(shallow) == peak(whole)
    assert shallow.phases == whole.phases
    assert sorted(block[:2] for block in shallow.blocks) == sorted(block[:2] for block in whole.blocks)


@pytest.mark.parametrize("targets", ["all-linear", "mlp"])
def test_every_other_layer_is_a_pattern_of_two(root, targets):
    """Chosen and spared layers in turn are units of two, and unfold to the whole model.

    The first chosen ends its unit; where it trains its last modules alone, the second unit differs from the rest too.
    """
    setup = _setup(root, "gemma2", layers="every:2", targets=targets)
    assert len(_same_as_whole_depth(setup).kept) < setup.model.layers


def test_layers_chosen_without_a_pattern_are_traced_one_by_one(root):
    """What the gradient picked here and there is not extrapolated."""
    setup = _setup(root, "llama", layers="gradient:4", layer_indices=(0, 3, 4, 8))
    assert not [run for run in tracing.depth_plan(setup).runs if run.repeats > 2]
    assert tracing.trace_setup(setup, TOKENS, GPU).blocks


def test_layers_that_only_seem_alike_are_refused(root):
    """Where a layer frees what others made, unfolding refuses, so that all layers are traced."""
    setup = _setup(root, "llama", "prefix_tuning")
    plan = tracing.depth_plan(setup)
    with pytest.raises(UnlikeLayersError, match="outside"):
        unfold(_recorded(setup, plan), plan, Rows(training=3, evaluation=3), trainable=0, total=0)
    assert tracing.trace_setup(setup, TOKENS, GPU).blocks


UNLIKE = sorted(name for name, method in all_methods().items() if not method.layers_alike)


@pytest.mark.parametrize("name", UNLIKE)
def test_what_is_declared_unlike_is_traced_whole_at_once(root, name, monkeypatch):
    """No few layers are tried in vain first; and they would be in vain."""
    setup, run, depths = _setup(root, "llama", name), tracing._run, []

    def watched(request, plan):
        depths.append(len(plan.kept))
        return run(request, plan)

    monkeypatch.setattr(tracing, "_run", watched)
    assert tracing.trace_setup(setup, TOKENS + 1, GPU).blocks  # a length that no other test keeps a trace of
    assert depths == [setup.model.layers]
    request = tracing._Request(setup, TOKENS, GPU, padded=True)
    with pytest.raises(UnlikeLayersError):
        tracing._attempt(request, tracing.depth_plan(setup))


VALUED = sorted(name for name, method in all_methods().items() if not method.traceable)


def test_two_methods_cannot_be_traced():
    """One more would be a hole in what the estimates know."""
    assert VALUED == ["adamss", "frod"]


@pytest.mark.parametrize("name", VALUED)
def test_what_is_made_of_values_is_not_tried_on_shapes(root, name, monkeypatch):
    """A bound by formula stands in at once, with the reason; trying would fail in a library's own words."""
    setup = _setup(root, "llama", name)
    request = tracing._Request(setup, TOKENS + 2, GPU, padded=True)
    whole = DepthPlan(kept=tuple(range(setup.model.layers)), runs=())
    with pytest.raises(tracing._FAILURES):
        tracing._attempt(request, whole)
    monkeypatch.setattr(tracing, "_run", lambda *_: pytest.fail("it was tried"))
    with pytest.raises(tracing.UntraceableError, match="is made of the weights' values, which a trace"):
        tracing.trace_setup(setup, TOKENS + 2, GPU)


@pytest.mark.parametrize("name", ["llama", "bert", "mixtral"])
@pytest.mark.parametrize("rows", [2, 5, 16])
def test_one_batch_stands_for_every_size(root, name, rows):
    """A prime number of rows tells what scales: the blocks are those of a trace with the rows themselves."""
    setup = _setup(root, name)
    plan = tracing.depth_plan(setup)
    scaled = unfold(_recorded(setup, plan), plan, Rows(training=rows, evaluation=rows), trainable=0, total=0)

    exact = unfold(
        replace(_recorded(setup, plan, rows=rows), rows=1), plan, Rows(training=1, evaluation=1), trainable=0, total=0
    )
    assert scaled.blocks == exact.blocks


def test_a_kept_trace_is_the_same_and_needs_no_torch(root, monkeypatch):
    """What was traced before is read from disk, equal in every block, without the model being built again."""
    setup = _setup(root, "llama")
    first = tracing.trace_setup(setup, TOKENS, CPU)
    tracing._kept.cache_clear()
    monkeypatch.setattr(tracing, "_run", None)
    assert tracing.trace_setup(setup, TOKENS, CPU) == first
