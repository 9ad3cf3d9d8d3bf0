"""How the draft by formula moves with what a candidate chooses, and that it stands in where nothing can be traced."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.estimation import draft, estimate
from autopeft.estimation.memory import dequantized_bytes, weight_bytes
from autopeft.estimation.trace import Phase, Trace
from autopeft.estimation.trace_memory import trace_memory
from autopeft.methods import get_method
from autopeft.quantization import get_quantization
from autopeft.values.candidates import Candidate, Setup
from tests.recommend.settings import SMALL, decoder, hardware

LORA = Candidate(
    method="lora", parameters={"rank": 8, "alpha": 16, "dropout": 0.0}, learning_rate=1e-3, batch_size=4
)  # fmt: skip
PLAIN = Setup(model=SMALL, task="generation", candidate=LORA)


def _changed(**candidate):
    return replace(PLAIN, candidate=replace(LORA, **candidate))


def _cost(setup, tokens=64, **device):
    return draft(setup, tokens_per_row=tokens, hardware=hardware(**device))


def test_the_breakdown_adds_up():
    """Allocated memory is the sum of what is alive; the total adds slack and context."""
    memory = _cost(PLAIN).memory
    assert sum(memory.breakdown.values()) == memory.peak_allocated_bytes
    assert memory.peak_reserved_bytes > memory.peak_allocated_bytes
    assert memory.total_bytes == memory.peak_reserved_bytes + memory.context_bytes
    assert memory.context_bytes > 0


def test_a_device_that_knows_its_context_says_it():
    """The context of the device planned for replaces the usual one."""
    card = hardware()
    known = replace(card, devices=(replace(card.devices[0], context_bytes=123),))
    assert draft(PLAIN, tokens_per_row=64, hardware=known).memory.context_bytes == 123


@pytest.mark.parametrize(
    ("kind", "capability"), [("cuda", "7.5"), ("cuda", "9.0"), ("cuda", None), ("rocm", None), ("mps", None)]
)
def test_draft_and_trace_assume_the_same_context(kind, capability):
    """A plan is weighed by either: what a device holds beside tensors must not depend on which."""
    device = replace(hardware(kind=kind).device, compute_capability=capability)
    planned = replace(hardware(), devices=(device,))
    empty = Trace(blocks=(), phases=(Phase("load", 0),), operations=(), trainable_parameters=0, total_parameters=0)
    drafted = draft(PLAIN, tokens_per_row=64, hardware=planned).memory
    assert drafted.context_bytes == trace_memory(empty, device).context_bytes > 0


def test_a_cpu_has_no_context_and_no_caching_allocator():
    """On the CPU what is allocated is what is taken."""
    memory = _cost(PLAIN, kind="cpu").memory
    assert memory.total_bytes == memory.peak_allocated_bytes


def test_scoring_counts_where_it_takes_more():
    """A CPU scores 32 rows at once: a batch of two needs what one of eight does, and a single row is scored alone."""
    wide = replace(PLAIN, model=replace(SMALL, vocabulary_size=128_000))

    def cost(rows, kind="cpu"):
        changed = replace(wide, candidate=replace(LORA, batch_size=rows))
        return draft(changed, tokens_per_row=64, hardware=hardware(kind=kind)).memory

    assert cost(2).breakdown["logits_and_loss"] == 128_000 * 64 * (32 * 4 + 2 * 4)
    assert cost(2).breakdown["gradients"] == 0
    assert cost(2).total_bytes == cost(3).total_bytes > 4 * cost(1).total_bytes
    assert cost(32).breakdown["logits_and_loss"] == 128_000 * 64 * 32 * 16
    assert cost(2, "cuda").breakdown["logits_and_loss"] == 128_000 * 64 * 2 * 16


@pytest.mark.parametrize("scheme", ["int8", "nf4", "nf4-double"])
def test_only_the_layers_linear_weights_are_quantized(scheme):
    """Linear weights take the scheme's bytes; embeddings, norms and heads are float32 beside them."""
    setup = _changed(quantization=scheme, dtype="bfloat16")
    linear = 2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 160)
    rest = 4 * (SMALL.parameters - linear)
    coded = get_quantization(scheme).bytes_per_weight
    assert coded is not None
    assert weight_bytes(setup) == rest + int(linear * coded)
    assert dequantized_bytes(setup) == 64 * 160 * 2


def test_half_precision_halves_unquantized_weights():
    """Without quantization the dtype alone decides the weights' bytes."""
    assert weight_bytes(_changed(dtype="bfloat16")) * 2 == weight_bytes(PLAIN)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 32), tokens=st.integers(8, 512))
def test_memory_grows_with_rows_and_tokens(rows, tokens):
    """More rows or longer ones never take less memory or time."""
    setup = _changed(batch_size=rows)
    base, wider = _cost(setup, tokens), _cost(_changed(batch_size=rows + 1), tokens)
    longer = _cost(setup, tokens + 1)
    for more in (wider, longer):
        assert more.memory.total_bytes > base.memory.total_bytes
        assert more.step_seconds >= base.step_seconds


def test_checkpointing_trades_memory_for_time():
    """Recomputing activations lowers what is kept and raises the seconds of a step."""
    deep = replace(PLAIN, model=decoder(layers=8, hidden=64, feed_forward=160, heads=4, key_value=2, head_size=16))
    again = replace(deep, candidate=replace(LORA, gradient_checkpointing=True))
    assert _cost(again).memory.breakdown["activations"] < _cost(deep).memory.breakdown["activations"] / 2
    assert _cost(again, tokens=512).step_seconds > _cost(deep, tokens=512).step_seconds


def test_layers_below_the_first_that_trains_keep_nothing():
    """No gradient reaches them, so upper layers alone cost less memory and less time."""
    upper = _changed(layers="last:1")
    assert _cost(upper).memory.breakdown["activations"] * 2 == _cost(PLAIN).memory.breakdown["activations"]
    assert _cost(upper, tokens=512).step_seconds < _cost(PLAIN, tokens=512).step_seconds


def test_virtual_tokens_lengthen_the_sequence():
    """A method that takes room from the context pays for it in every layer."""
    prompt = _changed(method="prompt_tuning", parameters={"virtual_tokens": 20}, targets="none")
    without = _changed(method="prompt_tuning", parameters={"virtual_tokens": 0}, targets="none")
    longer = _cost(without, 84).memory.breakdown
    assert _cost(prompt).memory.breakdown["activations"] == longer["activations"]
    assert _cost(prompt).memory.breakdown["logits_and_loss"] == longer["logits_and_loss"]


def test_vectors_in_every_layer_lengthen_no_sequence():
    """Keys and values that stand in each layer leave the hidden states as long as the row."""
    few = _changed(method="prefix_tuning", parameters={"virtual_tokens": 10}, targets="none")
    many = _changed(method="prefix_tuning", parameters={"virtual_tokens": 100}, targets="none")
    assert _cost(few).memory.breakdown["logits_and_loss"] == _cost(many).memory.breakdown["logits_and_loss"]


def test_every_choice_is_a_sequence():
    """A row of four choices costs what four rows of another task cost."""
    four = replace(_changed(batch_size=16), task="classification")
    assert _cost(replace(PLAIN, task="multiple-choice")).memory == _cost(four).memory


def test_logits_count_for_language_tasks_alone():
    """A vocabulary of logits per position is kept where the loss is over them."""
    assert _cost(PLAIN).memory.breakdown["logits_and_loss"] == 4 * 64 * 1000 * 16
    assert _cost(replace(PLAIN, task="classification")).memory.breakdown["logits_and_loss"] == 0


def test_an_unknown_throughput_gives_no_seconds():
    """A step time is never guessed: without the device's throughput there is none."""
    assert _cost(PLAIN, throughput=False).step_seconds is None
    assert _cost(PLAIN).step_seconds > 0


def test_accumulation_repeats_the_pass():
    """A step of four passes takes four times one pass."""
    assert _cost(_changed(accumulation=4)).step_seconds == pytest.approx(4 * _cost(PLAIN).step_seconds)


def test_what_cannot_be_traced_gets_a_bound_that_says_so():
    """A model without a config cannot be built: its estimate is a stated bound, not below the draft."""
    bound = estimate(PLAIN, tokens_per_row=64, hardware=hardware())
    assert any("upper bound by formula" in note for note in bound.notes)
    assert bound.memory.peak_allocated_bytes > _cost(PLAIN).memory.peak_allocated_bytes


def test_what_the_optimizer_freezes_costs_nothing_but_itself():
    """Frozen first factors stay among the weights; they have no gradients and no state, and do not count."""
    whole, halved = (_cost(_changed(optimizer=name)) for name in ("adamw", "lora_fa"))
    saved = {kind: size - halved.memory.breakdown[kind] for kind, size in whole.memory.breakdown.items()}
    frozen = get_method(LORA.method).first_factors(PLAIN)
    assert whole.trainable_parameters - halved.trainable_parameters == frozen > 0
    assert {kind: size for kind, size in saved.items() if size} == {
        "gradients": 4 * frozen,
        "optimizer_state": 8 * frozen,
    }
