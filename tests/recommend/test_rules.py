"""Every rule fires where it should and stays silent where it should not."""

from dataclasses import replace

import pytest

from autopeft.methods import Seed
from autopeft.recommend.rules import RULES, rate_rules, reasons_for
from autopeft.values.candidates import Constraints, Team
from tests.recommend.settings import GIB, LARGE, SMALL, case, hardware, method, setting, task

SEED = Seed(parameters={"rank": 8}, learning_rate=2e-4, source="made by hand")

PROMPT = method("soft-prompt", trainable=lambda s: 100, takes_targets=False, uses_context=True, adds_latency=True)
PREFIX = method("soft-prompt", trainable=lambda s: 100 * s.model.layers, takes_targets=False, adds_latency=True)
LOW_RANK = method()
COSTLY = method(memory_factor=1.5)
ADAPTER = method("adapter", adds_latency=True, mergeable=False)
SCALES = method("scaling")
BIASES = method("selective", changes_base=True)
FULL = method("full", changes_base=True, quantized_base=False)
DEFAULT = method(baseline={"default": SEED})

TIGHT = setting(model=replace(SMALL, parameters=8 * 10**9))
TOO_LARGE = setting(model=LARGE)
FEW = setting(task=task(rows=200))
WRITES = setting(task=task("generation"))
WRITES_FEW = setting(task=task("generation", rows=200))
WRITES_MANY = setting(task=task("generation", rows=50_000))
REASONS = setting(task=task("reasoning"))
MANY = setting(task=task(rows=50_000))
WIDE = setting(model=replace(SMALL, hidden_size=4096))
NARROW = setting(model=replace(SMALL, hidden_size=384))
UKRAINIAN = setting(task=task(language="uk"))
ENGLISH = setting(task=task(language="en"))
LONG_PROMPT = {"virtual_tokens": 20}
SHORT_PROMPT = {"virtual_tokens": 5}
ENCODER = setting(model=replace(SMALL, kind="encoder"))
ENCODER_FEW = setting(model=ENCODER.model, task=task(rows=200))
FULL_OF_ROWS = setting(model=replace(SMALL, max_positions=102))

TABLE = {
    "prompts-suit-very-large-models": (case(PROMPT, within=TOO_LARGE), case(PROMPT)),
    "prompts-need-very-large-models": (case(PROMPT), case(PROMPT, within=TOO_LARGE)),
    "small-prompts-starve": (case(PROMPT, learning_rate=1e-4), case(PROMPT, learning_rate=1e-2)),
    "prefixes-suit-generation-with-little-data": (case(PREFIX, within=WRITES_FEW), case(PREFIX, within=WRITES)),
    "prefixes-suit-generation": (case(PREFIX, within=WRITES), case(PREFIX, within=WRITES_FEW)),
    "prefixes-are-sensitive": (case(PREFIX), case(PROMPT)),
    "prompts-take-room": (
        case(PROMPT, parameters=LONG_PROMPT), case(PROMPT, parameters=SHORT_PROMPT, within=FULL_OF_ROWS),
    ),
    "prompts-overrun-positions": (
        case(PROMPT, parameters=SHORT_PROMPT, within=FULL_OF_ROWS), case(PROMPT, parameters=LONG_PROMPT),
    ),
    "input-stays-whole": (case(LOW_RANK), case(PROMPT)),
    "low-rank-suits-simple-labels": (case(LOW_RANK), case(LOW_RANK, within=REASONS)),
    "low-rank-suits-tight-memory": (case(LOW_RANK, within=TIGHT), case(LOW_RANK)),
    "established-default": (case(DEFAULT), case(LOW_RANK)),
    "merges-away": (case(LOW_RANK), case(ADAPTER)),
    "slows-inference": (case(ADAPTER), case(LOW_RANK)),
    "adapters-suit-complex-tasks": (case(ADAPTER, within=REASONS), case(ADAPTER)),
    "extra-cost-under-tight-memory": (case(COSTLY, within=TIGHT), case(COSTLY)),
    "extra-cost": (case(COSTLY), case(LOW_RANK)),
    "costlier-variants-pay-at-low-rank": (case(COSTLY, within=FEW, trained=10_000), case(COSTLY, trained=10_000)),
    "adapt-every-layer": (case(LOW_RANK, targets="all-linear"), case(LOW_RANK, targets="mlp")),
    "adapt-the-mlp": (case(LOW_RANK, targets="mlp"), case(LOW_RANK, targets="attention")),
    "attention-alone-falls-short": (case(LOW_RANK, targets="qv"), case(LOW_RANK, targets="all-linear")),
    "low-rank-rate": (case(LOW_RANK), case(FULL)),
    "short-runs-want-higher-rates": (case(LOW_RANK, within=FEW), case(LOW_RANK)),
    "wide-models-want-lower-rates": (case(within=WIDE, trained=10**6), case(trained=10**6)),
    "narrow-models-want-higher-rates": (
        case(trained=10**6, learning_rate=1e-4, within=NARROW), case(trained=10**6, learning_rate=1e-4, within=WIDE),
    ),
    "large-batches-hurt-low-rank": (case(LOW_RANK, accumulation=4), case(LOW_RANK)),
    "small-batches-keep-low-rank-well": (case(LOW_RANK, within=MANY), case(LOW_RANK)),
    "capacity-below-data": (case(LOW_RANK, within=WRITES, trained=1000), case(LOW_RANK, trained=1000, within=FEW)),
    "many-texts-want-rank": (
        case(parameters={"rank": 32}, within=WRITES_MANY), case(parameters={"rank": 8}, within=WRITES_MANY),
    ),
    "too-low-a-rank": (case(LOW_RANK, within=REASONS, trained=2000), case(LOW_RANK, within=REASONS, trained=50_000)),
    "quantize-what-does-not-fit": (case(within=TOO_LARGE, quantization="nf4"), case(quantization="nf4")),
    "quantization-can-degrade": (case(quantization="int8"), case()),
    "full-costs-most-and-forgets": (case(FULL), case(LOW_RANK)),
    "low-rates-forget-little": (case(FULL, learning_rate=1e-5), case(FULL, learning_rate=1e-4)),
    "own-weights-suit-encoders-with-few-rows": (case(BIASES, within=ENCODER_FEW), case(BIASES, within=ENCODER)),
    "scales-suit-few-rows": (case(SCALES, within=FEW), case(SCALES)),
    "scales-starve-at-low-rates": (case(SCALES, learning_rate=1e-4), case(SCALES, learning_rate=1e-2)),
    "low-resource-language": (case(within=UKRAINIAN), case(within=ENGLISH)),
    "half-precision": (case(dtype="bfloat16"), case(dtype="float32")),
    "eight-bit-state": (case(optimizer="paged_adamw_8bit"), case()),
    "accumulates": (case(accumulation=2), case()),
    "recomputes-activations": (case(gradient_checkpointing=True), case()),
    "size-is-little-studied": (case(within=FEW), case()),
}  # fmt: skip


def test_every_rule_has_a_case_that_fires_it_and_one_that_does_not():
    """A rule that nothing tests does not exist."""
    assert sorted(TABLE) == sorted(rule.id for rule in RULES)


@pytest.mark.parametrize("rule", sorted(TABLE))
def test_rule_fires_and_stays_silent(rule):
    """A rule speaks about the cases its condition names, and about no other."""
    fires, silent = TABLE[rule]
    assert rule in {reason.rule for reason in reasons_for(fires)}
    assert rule not in {reason.rule for reason in reasons_for(silent)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_is_a_whole_row(rule):
    """A rule says why and who says so, and its weight has the sign of its verdict."""
    assert rule.because.endswith(".")
    assert rule.source
    assert {"prefer": rule.weight > 0, "avoid": rule.weight < 0, "note": rule.weight == 0}[rule.verdict]


def test_rates_are_scaled_where_a_rule_says_so():
    """Short runs of low-rank updates take 1.5 times the seed's rate; long ones take it as it is."""
    assert [rule.id for rule in rate_rules(case(within=FEW))] == ["short-runs-want-higher-rates"]
    assert rate_rules(case()) == ()


def test_memory_left_over_decides_what_is_tight():
    """The same model is tight on a small device and not on a large one."""
    assert not setting(hardware=hardware(memory=80 * GIB), model=TIGHT.model).tight
    assert TIGHT.tight


def test_what_devices_divide_is_judged_by_a_devices_share():
    """Sharded over eight cards a model is tight, or too large, for none of them; processors share one memory."""
    shared = Constraints(team=Team(strategy="fsdp", devices=8))
    whole = Constraints(team=Team(strategy="ddp", devices=8))
    assert not setting(model=TIGHT.model, constraints=shared).tight
    assert setting(model=TIGHT.model, constraints=whole).tight
    assert setting(model=TIGHT.model, constraints=shared, hardware=hardware(kind="cpu")).tight
    quantized = case(within=setting(model=LARGE, constraints=shared), quantization="nf4")
    assert "quantize-what-does-not-fit" not in {reason.rule for reason in reasons_for(quantized)}


def test_a_rule_says_no_more_than_it_has_looked_at():
    """The rule on quantized bases fires for eight bits too, so it does not speak of four."""
    (reason,) = (
        reason
        for reason in reasons_for(case(within=TOO_LARGE, quantization="int8"))
        if reason.rule == "quantize-what-does-not-fit"
    )
    assert "4-bit" not in reason.because
