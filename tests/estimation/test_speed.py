"""The roofline: each operation against the roof that bounds it, the interval, and what is not known."""

from dataclasses import replace

import pytest

from autopeft import resources
from autopeft.estimation.efficiency import efficiency
from autopeft.estimation.question import Question, plan
from autopeft.estimation.roofline import CLASSES, trace_seconds
from autopeft.estimation.trace import Operation
from autopeft.estimation.tracing.setup import trace_setup
from autopeft.files import read_yaml
from autopeft.methods._targets import linear_modules
from autopeft.profiling.catalogue import card_device, card_names, load_card
from autopeft.quantization import BLOCK
from autopeft.values.profiles import Device, Throughput

RATE, BANDWIDTH = 100.0, 1e12
PRODUCT = Operation("mm", 2e12, 1e9, "bfloat16", "forward", 3)
COPY = Operation("copy_", 0, 5e9, "bfloat16", "backward", 2)
ATTENTION = Operation("_scaled_dot_product_flash_attention", 1e12, 1e8, "bfloat16", "forward", 1)
UPDATE = Operation("_fused_adamw_", 1e6, 4e9, "float32", "optimizer_step", 1)


def device(kind="cuda", *, source="a data sheet", bandwidth: float | None = BANDWIDTH):
    rates = {"float32": RATE / 4, "bfloat16": RATE}
    return Device(
        index=0, name="toy", kind=kind, total_memory_bytes=1, free_memory_bytes=1,
        throughput=Throughput(tflops=rates, bandwidth_bytes_per_second=bandwidth, source=source),
    )  # fmt: skip


def test_each_operation_takes_the_roof_that_bounds_it():
    """Products by the rate, copies by the bandwidth, both at the share that is reached."""
    found, reached = trace_seconds([PRODUCT, COPY, ATTENTION, UPDATE], device()), efficiency("cuda")
    assert found is not None
    assert found.by_class["matmul"] == pytest.approx(3 * 2e12 / (RATE * 1e12 * reached.matmul))
    assert found.by_class["memory"] == pytest.approx(2 * 5e9 / (BANDWIDTH * reached.bandwidth))
    assert found.by_class["attention"] == pytest.approx(1e12 / (RATE * 1e12 * reached.attention))
    assert found.by_class["optimizer"] == pytest.approx(4e9 / (BANDWIDTH * reached.bandwidth))
    assert found.seconds == pytest.approx(sum(found.by_class.values()))


def test_a_small_product_is_bound_by_its_traffic():
    """A product that moves more than it computes does not run at the rate of large ones."""
    thin = Operation("mm", 2e6, 4e9, "bfloat16", "forward", 1)
    found = trace_seconds([thin], device())
    assert found is not None
    assert found.by_class["memory"] == pytest.approx(4e9 / (BANDWIDTH * efficiency("cuda").bandwidth))


def test_accumulation_repeats_all_but_the_update():
    """Four micro-batches take four times the passes and one update."""
    once, four = (trace_seconds([PRODUCT, UPDATE], device(), accumulation=n) for n in (1, 4))
    assert once is not None
    assert four is not None
    assert four.by_class["matmul"] == pytest.approx(4 * once.by_class["matmul"])
    assert four.by_class["optimizer"] == once.by_class["optimizer"]


def test_evaluation_is_no_part_of_a_step():
    """What runs between steps does not lengthen one."""
    with_it = trace_seconds([PRODUCT, replace(PRODUCT, phase="evaluation")], device())
    assert with_it == trace_seconds([PRODUCT], device())


def test_many_small_kernels_cost_what_the_host_needs_to_send_them():
    """A GPU that waits for the host takes the host's time; a CPU takes both."""
    tiny = Operation("add", 1, 12, "float32", "forward", 10_000)
    gpu, cpu = trace_seconds([tiny], device()), trace_seconds([tiny], device("cpu"))
    assert gpu is not None
    assert cpu is not None
    assert gpu.seconds == pytest.approx(10_000 * efficiency("cuda").dispatch_seconds, rel=1e-3)
    assert cpu.by_class["overhead"] == pytest.approx(10_000 * efficiency("cpu").dispatch_seconds)


def test_making_memory_moves_none():
    """An empty tensor of a gigabyte costs a call, not a gigabyte's traffic."""
    empty = Operation("new_empty", 0, 1e9, "float32", "forward", 1)
    found = trace_seconds([empty], device())
    assert found is not None
    assert found.seconds == pytest.approx(efficiency("cuda").dispatch_seconds)


@pytest.mark.parametrize("scheme", ["nf4", "nf4-double"])
def test_unpacking_a_quantized_weight_takes_its_traffic(tiny_models, scheme):
    """A pass reads half a byte for each weight, and its scales, and writes two; the lowest need no backward pass."""
    asked = plan(Question(model=str(tiny_models["llama"]), gpu="rtx-3090", quantization=scheme, batch_size=2))
    operations = trace_setup(asked.setup, 32, asked.device).operations
    moved = {
        phase: sum(o.count * o.bytes_moved for o in operations if o.name == "dequantize_4bit" and o.phase == phase)
        for phase in ("forward", "backward")
    }
    sizes = [module.in_features * module.out_features for module in linear_modules(asked.setup.model)]
    assert moved["forward"] == sum(-(-size // 2) + 2 * size + 4 * -(-size // BLOCK) for size in sizes)
    assert moved["forward"] / 2 < moved["backward"] <= moved["forward"]


def test_a_busy_gpu_hides_the_host():
    """Large kernels only add what the device itself loses at each."""
    found = trace_seconds([PRODUCT], device())
    assert found is not None
    assert found.by_class["overhead"] == pytest.approx(3 * efficiency("cuda").kernel_seconds)


def test_a_measured_device_has_a_narrower_interval():
    """Rates that were timed leave less room than a data sheet's; both intervals hold the time."""
    sheet, timed = trace_seconds([PRODUCT], device()), trace_seconds([PRODUCT], device(source="measured"))
    assert sheet is not None
    assert timed is not None
    assert sheet.low < timed.low < timed.seconds < timed.high < sheet.high
    assert (sheet.measured, timed.measured) == (False, True)


def test_factors_scale_their_own_class_only():
    """A correction of attention leaves products as they are."""
    plain = trace_seconds([PRODUCT, ATTENTION], device())
    slow = trace_seconds([PRODUCT, ATTENTION], device(), factors={"attention": 2.0})
    assert plain is not None
    assert slow is not None
    assert slow.by_class["attention"] == 2 * plain.by_class["attention"]
    assert slow.by_class["matmul"] == plain.by_class["matmul"]


@pytest.mark.parametrize(
    "unknown",
    [
        replace(device(), throughput=None),
        device(bandwidth=None),
        replace(device(), throughput=Throughput(tflops={}, bandwidth_bytes_per_second=1.0, source="")),
    ],
)
def test_no_time_is_made_up(unknown):
    """Without rates there is no estimate rather than a guess."""
    assert trace_seconds([PRODUCT], unknown) is None


def test_an_accelerator_that_states_one_rate_is_timed_by_it():
    """Gaudi and TPUs state bfloat16 alone: a step in it is timed, its few float32 products with it; another is not."""
    rates = Throughput(tflops={"bfloat16": RATE}, bandwidth_bytes_per_second=BANDWIDTH, source="a data sheet")
    card = replace(device("accelerator"), throughput=rates)
    angles = Operation("bmm", 4e9, 1e6, "float32", "forward", 1)
    found, reached = trace_seconds([PRODUCT, angles], card), efficiency("accelerator")
    assert found is not None
    assert found.by_class["matmul"] == pytest.approx((3 * 2e12 + 4e9) / (RATE * 1e12 * reached.matmul))
    assert trace_seconds([replace(PRODUCT, dtype="float32"), COPY], card) is None


def test_every_kind_in_the_catalogue_has_shares_with_a_source():
    """Each kind of card can be planned for, with shares between 0 and 1 and where they are from."""
    kinds = {card_device(load_card(name)).kind for name in card_names()} | {"cpu"}
    content = read_yaml(resources.profiles() / "efficiency.yaml")
    assert set(content["devices"]) == kinds
    for kind in kinds:
        found = efficiency(kind)
        assert all(0 < share <= 1 for share in (found.matmul, found.attention, found.bandwidth))
        assert found.spread_catalogue > found.spread_measured > 1
        assert found.source
    assert len(CLASSES) == 5
