"""What other training code does its own way: traced as it runs, and refused where it means nothing."""

from dataclasses import replace

import pytest
import torch

from autopeft.errors import InvalidValueError
from autopeft.estimation.estimate import estimate
from autopeft.estimation.practice import Practice
from autopeft.estimation.question import Question, plan
from autopeft.estimation.trace import peak
from autopeft.estimation.tracing import setup as tracing
from autopeft.estimation.tracing.setup import trace_setup
from autopeft.testing.fused_loss import fused_loss
from autopeft.testing.memory import followed
from tests.estimation.architectures import CPU, GPU
from tests.estimation.test_trace_reality import TOKENS, UNCOUNTED, _setup
from tests.recommend.settings import hardware

CHECKPOINTED = {"gradient_checkpointing": True}
PRACTICES = [
    ("llama", CHECKPOINTED, Practice(checkpointing="reentrant")),
    ("llama", {**CHECKPOINTED, "layers": "last:3"}, Practice(checkpointing="non-reentrant")),
    ("bert", {**CHECKPOINTED, "dtype": "bfloat16", "accumulation": 2}, Practice(checkpointing="reentrant")),
    ("llama", {"method": "full", "dtype": "bfloat16"}, Practice(loss="chunked")),
    ("gemma2", {"quantization": "nf4", "dtype": "bfloat16"}, Practice(loss="chunked")),
    ("mistral", {"batch_size": 5}, Practice(packing=True)),
    ("llama", {}, Practice(attention="eager")),
    ("llama", {"dtype": "bfloat16"}, Practice(autocast=False)),
    ("qwen3", CHECKPOINTED, Practice(checkpointing="reentrant", loss="chunked", packing=True)),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path_factory.getbasetemp() / "traces"))


@pytest.mark.parametrize(("name", "change", "practice"), PRACTICES, ids=str)
def test_every_practice_peaks_as_it_runs(tmp_path_factory, name, change, practice):
    """torch's reentrant checkpoint, a fused loss, packed rows and pure 16 bits peak as they do on real tensors."""
    setup = _setup(tmp_path_factory, name, **change)
    padded = not practice.packing
    expected = followed(setup, TOKENS, padded=padded, practice=practice).allocated_bytes
    found = peak(trace_setup(setup, TOKENS, CPU, padded=padded, practice=practice)).bytes
    assert abs(found - expected) <= UNCOUNTED, f"{found} traced, {expected} followed: {found / expected - 1:+.2%}"
    own = peak(trace_setup(setup, TOKENS, CPU, padded=padded)).bytes
    assert abs(found - own) > UNCOUNTED, f"{found} traced, and {own} as autopeft trains: nothing was told apart."


@pytest.mark.parametrize("practice", [Practice(checkpointing="reentrant"), Practice(loss="chunked", packing=True)])
def test_layers_alike_stay_alike(tmp_path_factory, practice):
    """A few layers stand for all: what recomputes a layer is that layer's work."""
    setup = _setup(tmp_path_factory, "llama", **CHECKPOINTED)
    kept = tracing._kept(tracing._Request(setup, TOKENS, CPU, practice=practice))
    assert [run.repeats for run in kept.plan.runs] == [setup.model.layers - len(kept.plan.kept)]


def test_flash_attention_takes_no_mask(tmp_path_factory):
    """Full rows take what torch's own flash kernel does, padded and packed ones less than with a mask of all pairs."""
    setup = _setup(tmp_path_factory, "llama", dtype="bfloat16")
    pairs = (3 * TOKENS) ** 2

    def traced(*, padded=False, **practice):
        return trace_setup(setup, TOKENS, GPU, padded=padded, practice=Practice(**practice))

    full, flash = traced(), traced(attention="flash")
    packed, with_mask = traced(attention="flash", packing=True), traced(packing=True)
    padded, masked = (traced(padded=True, attention=name) for name in ("flash", "sdpa"))
    assert peak(flash).bytes == peak(full).bytes
    assert peak(packed).bytes < peak(with_mask).bytes
    assert peak(padded).bytes < peak(masked).bytes
    sizes = {pairs, 2 * pairs}
    assert [any(block.bytes in sizes for block in trace.blocks) for trace in (packed, with_mask)] == [False, True]


def test_the_chunked_reference_is_the_loss():
    """Cross-entropy and its gradients, whatever the chunks: what the trace is held to computes what it claims to."""
    torch.manual_seed(0)
    labels = torch.randint(0, 23, (10,)).index_fill(0, torch.tensor([3]), -100)
    hidden, weight = torch.randn(10, 4), torch.randn(23, 4)
    whole, chunked = ([t.clone().requires_grad_() for t in (hidden, weight)] for _ in range(2))
    expected = torch.nn.functional.cross_entropy(whole[0] @ whole[1].t(), labels)
    found = fused_loss(chunked[0], chunked[1], None, labels)
    (3 * expected).backward()
    (3 * found).backward()
    assert found.item() == pytest.approx(expected.item())
    for one, other in zip(whole, chunked, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_scoring_is_of_the_same_kind(tmp_path_factory):
    """Code that takes its loss in chunks scores by it too: no 32 rows at once, and no logits of them, are the peak."""
    setup = _setup(tmp_path_factory, "llama", batch_size=2, gradient_checkpointing=True)
    given = {"tokens_per_row": TOKENS, "hardware": replace(hardware(), devices=(CPU,))}
    own, chunked = (estimate(setup, **given, practice=practice) for practice in (Practice(), Practice(loss="chunked")))
    assert own.memory.peak_phase == "evaluation" != chunked.memory.peak_phase
    assert (
        chunked.memory.peak_allocated_bytes
        == peak(trace_setup(setup, TOKENS, CPU, practice=Practice(loss="chunked"))).bytes
    )


REFUSED = [
    ({"checkpointing": "reentrant"}, "`--checkpointing` of an estimate must be given with --gradient-checkpointing"),
    ({"checkpointing": "reentrent"}, "one of non-reentrant, own, reentrant; got 'reentrent'"),
    ({"attention": "flesh"}, "`--attention` of an estimate must be one of eager, flash, sdpa"),
    ({"attention": "flash", "dtype": "float32"}, "sdpa or eager in float32; got 'flash'"),
    ({"attention": "flash", "gpu": "v100-32gb"}, "sdpa or eager on .*; got 'flash'"),
    ({"loss": "chunks"}, "`--loss` of an estimate must be one of chunked, whole"),
    ({"loss": "chunked", "task": "classification"}, "`--loss` of .* for classification must be left out"),
    ({"packing": True, "task": "classification"}, "`--packing` of .* for classification must be left out"),
    ({"packing": True, "method": "prompt_tuning"}, "the method puts tokens before every row"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_a_practice_that_means_nothing_is_refused(tiny_models, options, message):
    """Each with the option's name, what was expected, and what was given."""
    with pytest.raises(InvalidValueError, match=message):
        plan(Question(**{"model": str(tiny_models["llama"]), "gpu": "rtx-3090", **options}))
