"""What an answer adds to an estimate: several devices, and what the allocator's settings would change."""

from dataclasses import replace
from typing import Any

import pytest

from autopeft.errors import InvalidValueError
from autopeft.estimation import fragmentation
from autopeft.estimation.estimate import draft, uncorrected
from autopeft.estimation.fragmentation import fragmentation_notes
from autopeft.estimation.question import Question, plan
from autopeft.estimation.remedies import remedies
from autopeft.estimation.strategy import COMMUNICATOR_BYTES, data_parallel, fully_sharded, gathered_bytes
from autopeft.estimation.trace import Block, Phase, Trace
from autopeft.profiling.cache import cache_folder
from autopeft.profiling.catalogue import card_device, load_card
from autopeft.values.candidates import Estimate, MemoryEstimate

MIB = 1 << 20


@pytest.fixture
def planned(tiny_models, tmp_path, monkeypatch):
    """A plan for the tiny decoder: 3 layers, untied embeddings."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))
    return lambda **changes: plan(Question(model=str(tiny_models["llama"]), gpu="rtx-3090", **changes))


def estimate():
    breakdown = {
        "weights": 800, "adapter": 80, "gradients": 160, "optimizer_state": 320, "activations": 500,
        "logits_and_loss": 100, "temporaries": 40,
    }  # fmt: skip
    memory = MemoryEstimate(
        peak_allocated_bytes=2000, peak_reserved_bytes=2300, context_bytes=600, breakdown=breakdown
    )  # fmt: skip
    return Estimate(memory=memory, step_seconds=1.0, trainable_parameters=1, total_parameters=2)


def test_the_devices_dtype_is_taken_where_the_method_trains_in_it(tiny_models, tmp_path, monkeypatch):
    """A card without bfloat16 computes in float16, in which no weights of the base itself can be trained."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))
    asked: dict[str, Any] = {"model": str(tiny_models["llama"]), "gpu": "t4"}
    dtypes = [plan(Question(**asked, method=name)).setup.candidate.dtype for name in ("lora", "full")]
    assert dtypes == ["float16", "float32"]
    with pytest.raises(InvalidValueError, match="no gradient scaler takes in float16"):
        plan(Question(**asked, method="full", dtype="float16"))


@pytest.mark.parametrize("cost", [uncorrected, draft])
def test_layers_yet_to_be_picked_cost_the_most_they_can(planned, cost):
    """Before the gradient has picked a layer, what it is expected to take covers whichever it picks."""

    def peak(**chosen):
        asked = planned(dtype="bfloat16")
        candidate = replace(asked.setup.candidate, layers="gradient:1", **chosen)
        found = cost(replace(asked.setup, candidate=candidate), tokens_per_row=64, hardware=asked.hardware)
        return found.memory.peak_allocated_bytes

    assert peak() == max(peak(layer_indices=(picked,)) for picked in range(3)) > peak(layer_indices=(2,))


def test_gathered_is_what_stands_outside_and_two_layers(planned):
    """Embeddings, final norm and head, and the two largest of the layers, in the dtype they are stored in."""
    setup = planned(dtype="bfloat16").setup
    layer = sum(module.parameters for module in setup.model.modules if module.layer == 0)
    outside = sum(module.parameters for module in setup.model.modules if module.layer is None)
    assert gathered_bytes(setup) == 2 * (outside + 2 * layer)


def test_gathered_codes_are_as_small_as_they_are_stored(planned):
    """Quantized layers are gathered quantized; what is not quantized is in float32 beside them."""
    setup = planned(dtype="bfloat16", quantization="nf4").setup
    linear = sum(m.parameters for m in setup.model.modules if m.layer == 0 and m.kind == "linear")
    norms = sum(m.parameters for m in setup.model.modules if m.layer == 0 and m.kind == "norm")
    outside = sum(module.parameters for module in setup.model.modules if module.layer is None)
    expected = 4 * outside + 2 * (4 * norms + linear * (0.5 + 4 / 64))
    assert gathered_bytes(setup) == pytest.approx(expected, rel=1e-3)


def test_full_sharding_divides_what_is_held_and_not_what_is_computed(planned):
    """Weights, gradients and state by the number of devices; activations stay; the breakdown adds up."""
    setup = planned(dtype="bfloat16").setup
    memory = fully_sharded(estimate(), setup, 8).memory
    assert [memory.breakdown[k] for k in ("weights", "adapter", "gradients", "optimizer_state")] == [100, 10, 20, 40]
    assert memory.breakdown["activations"] == 500
    assert memory.breakdown["temporaries"] == 40 + gathered_bytes(setup)
    assert sum(memory.breakdown.values()) == memory.peak_allocated_bytes
    assert memory.peak_reserved_bytes - memory.peak_allocated_bytes == 300
    assert memory.context_bytes == 600 + COMMUNICATOR_BYTES


def test_one_device_gathers_nothing(planned):
    """Sharding over a single device leaves its tensors as they are."""
    memory = fully_sharded(estimate(), planned().setup, 1).memory
    assert memory.breakdown == estimate().memory.breakdown


def test_replicas_hold_every_gradient_twice():
    """DDP's buckets are a second copy of all gradients, also where the peak is before any gradient is there."""
    memory = data_parallel(replace(estimate(), trainable_parameters=40), 4).memory
    assert memory.breakdown == {**estimate().memory.breakdown, "temporaries": 40 + 160}
    assert memory.peak_allocated_bytes == 2160


def test_whole_gradients_are_held_where_the_base_trains(planned):
    """Full fine-tuning gathers float32 weights and holds their gradients as whole; an adapter gathers 16 bits."""
    adapter, full = (planned(dtype="bfloat16", method=name).setup for name in ("lora", "full"))
    assert gathered_bytes(full) == (4 + 4) / 2 * gathered_bytes(adapter)


def grown(*sizes, kept=0):
    """A trace of blocks that live one after another, each of another size, beside one that stays."""
    blocks = [Block(size * MIB, "activations", 2 * i + 1, 2 * i + 2) for i, size in enumerate(sizes)]
    blocks.insert(0, Block(kept * MIB, "weights", 0, None))
    return Trace(
        blocks=tuple(blocks), phases=(Phase("load", 0),), operations=(), trainable_parameters=1, total_parameters=1
    )  # fmt: skip


@pytest.fixture
def fragmented(planned, monkeypatch, tmp_path):
    """A plan on a card of 900 MiB whose trace holds 200, 300 and 400 MiB in turn beside 100 that stay."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))
    trace = grown(200, 300, 400, kept=100)
    monkeypatch.setattr(fragmentation, "trace_setup", lambda *_, **__: trace)
    asked = planned(memory_bytes=900 * MIB)
    device = replace(asked.device, context_bytes=0)
    return replace(asked, hardware=replace(asked.hardware, devices=(device,)))


def test_the_gain_of_expandable_segments_is_said(fragmented):
    """Three segments of 900 MiB in all become one of 400: which setting does it, and that the run then fits."""
    (gain, gets_by) = fragmentation_notes(fragmented, 1000 * MIB)
    assert gain == (
        "PYTORCH_ALLOC_CONF=expandable_segments:True would save 500.0 MiB of reserved memory. It fits then."
    )
    assert gets_by.startswith("torch would get by all the same")


def test_a_run_that_fits_is_not_told_how_torch_would_get_by(fragmented):
    """Where there is room there is nothing to give back."""
    assert len(fragmentation_notes(replace(fragmented, limit_bytes=2000 * MIB), 1000 * MIB)) == 1


def test_nothing_is_said_where_nothing_is_gained(fragmented, monkeypatch):
    """Less than 64 MiB is not worth a note."""
    monkeypatch.setattr(fragmentation, "trace_setup", lambda *_, **__: grown(40, 60, kept=100))
    assert fragmentation_notes(fragmented, 200 * MIB) == ()


def test_a_gain_is_found_once(fragmented, monkeypatch):
    """What was replayed before is read, until the file that keeps it is cut short."""
    roomy = replace(fragmented, limit_bytes=2000 * MIB)
    first = fragmentation_notes(roomy, 1000 * MIB)
    again = vars(fragmentation)["trace_setup"]
    monkeypatch.setattr(fragmentation, "trace_setup", lambda *_, **__: pytest.fail("it is kept"))
    assert fragmentation_notes(roomy, 1000 * MIB) == first
    (kept,) = cache_folder().glob("estimates/*.gain.json")
    kept.write_text(kept.read_text()[:9])
    monkeypatch.setattr(fragmentation, "trace_setup", again)
    assert fragmentation_notes(roomy, 1000 * MIB) == first


def test_other_devices_have_no_such_allocator(fragmented):
    """On a CPU memory is given back; over several devices the trace of one is not the whole."""
    processor = replace(fragmented.device, kind="cpu")
    there = replace(fragmented, hardware=replace(fragmented.hardware, devices=(processor,)))
    assert fragmentation_notes(there, 1000 * MIB) == ()
    assert fragmentation_notes(replace(fragmented, strategy="ddp"), 1000 * MIB) == ()


@pytest.mark.parametrize(
    ("card", "optimizer"),
    [("rtx-3090", "paged_adamw_8bit"), ("mi300x", "adamw_8bit"), ("apple-m2-max", None), ("gaudi2", None)],
)
def test_no_remedy_asks_for_what_the_device_cannot_run(planned, card, optimizer):
    """8-bit state is a remedy where bitsandbytes updates it: on NVIDIA's, AMD's and plain processors."""
    asked = planned(batch_size=2)
    there = replace(asked, hardware=replace(asked.hardware, devices=(card_device(load_card(card)),)))
    words = [remedy.words for remedy in remedies(there, estimate(), lambda _: 1)]
    assert [word for word in words if "8bit" in word] == ([f"--optimizer {optimizer}"] if optimizer else [])


def test_the_default_is_the_recipe_that_most_tutorials_give(planned):
    """Nothing named: the catalogue's default recipe, on the device's dtype, with the length said to be assumed."""
    asked = planned()
    assert (asked.setup.candidate.method, asked.setup.candidate.targets) == ("lora", "all-linear")
    assert asked.setup.candidate.parameters["rank"] == 16
    assert asked.setup.candidate.dtype == "bfloat16"
    assert asked.tokens == 128
    assert "Rows of 128 tokens are assumed" in asked.notes[0]
