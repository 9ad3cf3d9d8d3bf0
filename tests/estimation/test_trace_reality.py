"""The trace against the training code itself, followed storage by storage on the CPU."""

from dataclasses import replace

import pytest

from autopeft.errors import InvalidValueError
from autopeft.estimation import estimate
from autopeft.estimation.practice import Practice
from autopeft.estimation.trace import peak
from autopeft.estimation.tracing.setup import trace_setup
from autopeft.methods import get_method
from autopeft.profiling.model import read_model
from autopeft.testing.memory import followed
from autopeft.values.candidates import Candidate, Setup
from benchmarks._memory_run import save_model
from tests.estimation.architectures import ARCHITECTURES, CPU, GPU, config
from tests.recommend.settings import hardware

TOKENS = 48
UNCOUNTED = 16 * 512
"""Scalars that the trace leaves out: stacked norms, the printed loss, code books that a CPU shares with its host."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path_factory.getbasetemp() / "traces"))


def _setup(tmp_path_factory, name, method="lora", **candidate):
    task = ARCHITECTURES[name][1]
    declared = get_method(method)
    parameters = {**declared.seeds[0].parameters, **({"rank": 4} if "rank" in declared.legal else {})}
    targets = "all-linear" if declared.capabilities.takes_targets else "none"
    chosen = Candidate(
        method=method, parameters=parameters, learning_rate=1e-3, targets=targets, **{"batch_size": 3, **candidate}
    )
    folder = tmp_path_factory.getbasetemp() / "weights" / name
    if not folder.is_dir():
        folder.mkdir(parents=True)
        config(name).save_pretrained(folder)
        model = read_model(str(folder), task)
        save_model(Setup(model=model, task=task, candidate=chosen), config(name), folder)
    return Setup(model=read_model(str(folder), task), task=task, candidate=chosen)


def _agree(setup, *, padded=True):
    expected = followed(setup, TOKENS, padded=padded).allocated_bytes
    found = peak(trace_setup(setup, TOKENS, CPU, padded=padded)).bytes
    assert abs(found - expected) <= UNCOUNTED, f"{found} traced, {expected} followed: {found / expected - 1:+.2%}"


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_peak_is_that_of_training(tmp_path_factory, name):
    """Meta tensors through stand-ins peak where real tensors do in the training code, to a few scalars."""
    _agree(_setup(tmp_path_factory, name))


CHANGES = [
    {"quantization": "nf4", "dtype": "bfloat16"},
    {"quantization": "nf4-double", "gradient_checkpointing": True},
    {"quantization": "int8"},
    {"dtype": "bfloat16", "accumulation": 2},
    {"optimizer": "adamw_8bit"},
    {"optimizer": "adafactor", "layers": "last:3"},
    {"optimizer": "lion"},
    {"optimizer": "lora_fa"},
    {"optimizer": "riemannian"},
    {"method": "velora"},
    {"method": "full", "optimizer": "galore"},
    {"method": "full"},
    {"method": "full", "optimizer": "adamw_foreach"},
    {"method": "adalora", "dtype": "bfloat16"},
    {"method": "prefix_tuning"},
    {"method": "prompt_tuning"},
    {"method": "houlsby_adapter"},
    {"method": "shira", "quantization": "nf4-double", "dtype": "bfloat16"},
    {"method": "dora", "quantization": "nf4", "dtype": "bfloat16"},
    {"method": "unilora"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_way_to_train_peaks_alike(tmp_path_factory, change):
    """So do bitsandbytes' layers, checkpointing, autocast, the optimizers and methods of every family."""
    _agree(_setup(tmp_path_factory, "llama", **change))


def test_an_optimizer_that_does_not_suit_is_said_and_not_counted(tmp_path_factory):
    """What asks for another optimizer is the user's error; no bound by formula stands in for it."""
    for method, optimizer, words in (("lora", "galore", "no trained matrix"), ("ia3", "lora_plus", "no low-rank pair")):
        setup = _setup(tmp_path_factory, "llama", method=method, optimizer=optimizer)
        with pytest.raises(InvalidValueError, match=words):
            estimate(setup, tokens_per_row=TOKENS, hardware=hardware())


def test_losses_are_float32_under_autocast(tmp_path_factory):
    """An encoder-decoder takes its loss of 16-bit logits, which a CPU's autocast raises first."""
    _agree(_setup(tmp_path_factory, "t5", dtype="bfloat16"))


def test_a_batch_of_one_needs_no_mask(tmp_path_factory):
    """Rows of equal length take the way without a mask, with shared heads left shared."""
    setup = _setup(tmp_path_factory, "llama", batch_size=1)
    _agree(setup, padded=False)
    assert peak(trace_setup(setup, TOKENS, CPU)) == peak(trace_setup(setup, TOKENS, CPU, padded=False))
    wider = replace(setup, candidate=replace(setup.candidate, batch_size=2))
    assert peak(trace_setup(wider, TOKENS, CPU)) == peak(trace_setup(wider, TOKENS, CPU, padded=True))


def test_without_autocast_adapters_compute_in_their_own_dtype(tmp_path_factory):
    """Float32 adapters then keep float32 copies of their inputs; in float32 nothing changes."""
    for dtype, grows in (("bfloat16", True), ("float32", False)):
        setup = _setup(tmp_path_factory, "llama", dtype=dtype)
        mixed, plain = (
            peak(trace_setup(setup, TOKENS, CPU, practice=Practice(autocast=on))).bytes for on in (True, False)
        )
        assert (plain > mixed) is grows


def test_scoring_is_the_peak_where_it_takes_more(tmp_path_factory):
    """A CPU scores 32 rows at once: more than training on two takes, and the estimate says which it is."""
    setup = _setup(tmp_path_factory, "llama", batch_size=2, gradient_checkpointing=True)
    on_cpu, on_card = (
        estimate(setup, tokens_per_row=TOKENS, hardware=replace(hardware(), devices=(device,))) for device in (CPU, GPU)
    )
    assert (on_cpu.memory.peak_phase, on_card.memory.peak_phase) == ("evaluation", "backward")
    assert on_cpu.memory.peak_allocated_bytes > peak(trace_setup(setup, TOKENS, CPU)).bytes
    assert [note for note in on_cpu.notes if note.startswith("The peak is that of scoring 32 rows at once")]
    assert not [note for note in on_card.notes if "scoring" in note]
