"""An estimate made before is read from disk, and what decides it decides which one."""

import sys
from dataclasses import replace

import pytest

from autopeft.estimation import digest
from autopeft.estimation.estimate import evaluation_rows, is_kept, uncorrected
from autopeft.estimation.kept import estimate_path
from autopeft.estimation.observations import observations
from autopeft.estimation.question import Question, plan
from autopeft.estimation.tracing import setup as tracing
from autopeft.estimation.tracing import store
from autopeft.estimation.tracing.setup import UntraceableError, is_traced, trace_key, trace_setup
from autopeft.methods import get_method
from autopeft.profiling.timed import kept_throughput


@pytest.fixture
def asked(tiny_models, tmp_path, monkeypatch):
    """A plan for the tiny decoder, in a cache of its own."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))
    return plan(Question(model=str(tiny_models["llama"]), gpu="rtx-3090", batch_size=2))


def estimated(asked):
    return uncorrected(asked.setup, tokens_per_row=asked.tokens, hardware=asked.hardware)


def path(asked, setup=None, device=None, tokens=None):
    device, setup = device or asked.device, setup or asked.setup
    return estimate_path(setup, tokens or asked.tokens, evaluation_rows(setup, device), device)


def test_a_kept_estimate_needs_no_trace(asked, monkeypatch):
    """The second time nothing is unfolded or replayed, and every figure and note is the same."""
    first = estimated(asked)
    seam = sys.modules[uncorrected.__module__]  # the package's own name for it is the function
    monkeypatch.setattr(seam, "trace_setup", None)
    monkeypatch.setattr(seam, "trace_memory", None)
    assert estimated(asked) == first


def test_an_estimate_cut_short_is_made_anew(asked):
    """Half a file is no estimate; it is written over."""
    first = estimated(asked)
    whole = path(asked).read_text()
    path(asked).write_text(whole[: len(whole) // 2])
    assert estimated(asked) == first
    assert path(asked).read_text() == whole


def test_whatever_decides_an_estimate_names_it(asked):
    """Batch, accumulation, length, rank, size, the device's memory rates and context: each has a file of its own."""
    setup, device = asked.setup, asked.device
    candidate, model = setup.candidate, setup.model
    rank = next(s for s in get_method(candidate.method).seeds if s.parameters != candidate.parameters).parameters
    changed = [
        path(asked),
        path(asked, tokens=asked.tokens + 1),
        path(asked, replace(setup, candidate=replace(candidate, batch_size=3))),
        path(asked, replace(setup, candidate=replace(candidate, accumulation=5))),
        path(asked, replace(setup, candidate=replace(candidate, parameters=dict(rank)))),
        path(asked, replace(setup, model=replace(model, parameters=model.parameters + 1))),
        path(asked, device=replace(device, context_bytes=1)),
        path(asked, device=replace(device, throughput=None)),
    ]
    assert len(set(changed)) == len(changed)


def test_the_code_that_traces_names_a_recording(asked, monkeypatch):
    """Whoever installs other code under the same version gets no recording of the code before."""
    digests = {digest.tracing_digest()}
    for folder in ("methods", "optimizers", "quantization", "tasks"):
        monkeypatch.setattr(digest, "_TRACED", (folder,))
        digest.tracing_digest.cache_clear()
        digests.add(digest.tracing_digest())
    digest.tracing_digest.cache_clear()
    assert len(digests) == 5, "each folder counts"
    monkeypatch.undo()
    before = trace_key(asked.setup, asked.tokens, asked.device)
    monkeypatch.setattr(store, "tracing_digest", lambda: "of other code")
    assert trace_key(asked.setup, asked.tokens, asked.device) != before


def test_what_is_free_does_not_name_an_estimate(asked):
    """Free memory and other processes change from call to call and nothing of an estimate: it is found again."""
    busy = replace(asked.device, free_memory_bytes=1, other_processes=3, other_used_bytes=5, index=2)
    assert path(asked, device=busy) == path(asked)


def test_a_cache_that_may_not_be_looked_into_costs_only_time(asked, monkeypatch, tmp_path):
    """Where even asking for a file is an error, as in another user's folder, everything is made anew and no less."""
    first = estimated(asked)
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / ("n" * 300)))  # longer than a name may be, for root as well
    assert not is_kept(asked.setup, tokens_per_row=asked.tokens, hardware=asked.hardware)
    assert estimated(asked) == first
    assert kept_throughput(asked.device) is None
    assert observations("a card", "a stack") == ()


OWN = """
from dataclasses import replace
from autopeft.methods import get_method

METHOD = replace(get_method("lora"), summary="One's own.")
"""


@pytest.fixture
def own(asked, tmp_path, monkeypatch):
    """The plan's setup with a method of the user's own, and the folder that its module lies in."""
    folder = tmp_path / f"of_{tmp_path.name}"  # a package of its own for each test, for modules are imported once
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    candidate = replace(asked.setup.candidate, method=f"{folder.name}.mine")
    return replace(asked.setup, candidate=candidate), folder


def test_code_of_ones_own_names_a_recording(asked, own):
    """Whoever changes a method of their own, or what lies beside it, sees it traced anew in the next process."""
    setup, folder = own
    keys = [trace_key(setup, asked.tokens, asked.device)]
    for name in ("mine.py", "_helper.py"):
        (folder / name).write_text(f"{OWN}\n# another\n")
        assert trace_key(setup, asked.tokens, asked.device) == keys[-1], "the process has the module as it was"
        tracing._code.cache_clear()
        keys.append(trace_key(setup, asked.tokens, asked.device))
    assert len(set(keys)) == 3


def test_a_failure_of_ones_own_is_not_kept(asked, own, monkeypatch):
    """What could not be traced once is not tried again with the same versions, but for code that its author mends."""

    def fail(*_):
        raise RuntimeError("needs numbers")

    monkeypatch.setattr(tracing, "_run", fail)
    known = {}
    for setup in (asked.setup, own[0]):
        with pytest.raises(UntraceableError, match="needs numbers"):
            trace_setup(setup, 37, asked.device)
        known[setup.candidate.method] = is_traced(setup, 37, asked.device)
    assert list(known.values()) == [True, False]
