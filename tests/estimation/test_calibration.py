"""Real runs correct later estimates: what kind of error each correction takes out, and what it leaves alone."""

import json
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.estimation import calibration
from autopeft.estimation.calibration import Correction, corrected, correction, fit
from autopeft.estimation.digest import code_digest
from autopeft.estimation.observations import (
    Observation,
    card_name,
    observations,
    observations_path,
    observed,
    record,
    stack_versions,
)
from autopeft.profiling.catalogue import card_device, load_card
from autopeft.values.candidates import Estimate, MemoryEstimate

MIB = 1 << 20
RUN = Observation(
    card="h200", stack="torch 2", date="2026-11-21", estimator=code_digest(), estimated_reserved_bytes=1000 * MIB,
    estimated_seconds={"matmul": 1.0, "memory": 1.0}, reserved_bytes=1040 * MIB, step_seconds=3.0,
)  # fmt: skip
ESTIMATE = Estimate(
    memory=MemoryEstimate(
        peak_allocated_bytes=5000 * MIB, peak_reserved_bytes=6000 * MIB, context_bytes=600 * MIB,
        breakdown={"weights": 4900 * MIB, "temporaries": 100 * MIB},
    ),
    step_seconds=3.0, step_seconds_low=2.0, step_seconds_high=4.5,
    step_seconds_by_class={"matmul": 2.0, "memory": 1.0}, trainable_parameters=1, total_parameters=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))
    monkeypatch.delenv("AUTOPEFT_CALIBRATION", raising=False)


def test_without_runs_nothing_changes():
    """An estimate for a card that nothing was measured on is left as it is, without a note."""
    found = correction("h200", "torch 2")
    assert found.measurements == 0
    assert corrected(ESTIMATE, found) is ESTIMATE


def test_runs_count_for_their_own_card_and_versions_only():
    """Another card or another version of a library says nothing about this one."""
    for other in (RUN, replace(RUN, card="l4"), replace(RUN, stack="torch 3")):
        record(other)
    assert observations("h200", "torch 2") == (RUN,)


def test_runs_that_other_code_has_estimated_say_nothing():
    """What an estimator was off by is its own; lines from before its digest was kept are read and left out."""
    record(replace(RUN, estimator="0" * 64))
    line = json.loads(observations_path().read_text())
    del line["estimator"]
    with observations_path().open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    record(RUN)
    assert observations("h200", "torch 2") == (RUN,)


def test_a_correction_is_fitted_once_while_the_file_stands(monkeypatch):
    """A search asks at every estimate; a run that is added is in the next answer, and the switch is obeyed at once."""
    fits = []

    def counted(*given):
        fits.append(given)
        return fit(*given)

    monkeypatch.setattr(calibration, "fit", counted)
    record(RUN)
    assert [correction("h200", "torch 2").measurements for _ in range(3)] == [1, 1, 1]
    assert len(fits) == 1
    record(RUN)
    assert correction("h200", "torch 2").measurements == 2
    monkeypatch.setenv("AUTOPEFT_CALIBRATION", "off")
    assert correction("h200", "torch 2").measurements == 0


def test_memory_is_corrected_by_bytes_not_by_a_factor():
    """A workspace of 30 MiB that no trace sees is 30 MiB on a model five times as large too."""
    found = corrected(ESTIMATE, fit("h200", [RUN] * 3)).memory
    assert found.peak_reserved_bytes == 6040 * MIB
    assert sum(found.breakdown.values()) == found.peak_allocated_bytes == 5000 * MIB


def test_no_less_is_reserved_than_allocated():
    """Runs that took far less cannot bring what is reserved below what a trace has seen allocated."""
    low = replace(RUN, estimated_reserved_bytes=9000 * MIB)
    assert corrected(ESTIMATE, fit("h200", [low] * 3)).memory.peak_reserved_bytes == 5000 * MIB


def test_two_runs_do_not_move_memory():
    """One or two runs may be wrong in their own way."""
    assert fit("h200", [RUN] * 2).reserved_offset_bytes == 0


def test_residuals_that_disagree_move_nothing():
    """Where half the runs need more and half less, no offset is right."""
    low = replace(RUN, reserved_bytes=900 * MIB)
    assert fit("h200", [RUN, RUN, low, low]).reserved_offset_bytes == 0


def test_each_class_of_operation_gets_its_own_factor():
    """Where runs dominated by memory traffic take twice as long and the others do not, only traffic is slower."""
    runs = [
        replace(RUN, estimated_seconds={"matmul": m, "memory": t}, step_seconds=m + 2 * t)
        for m, t in ((10.0, 1.0), (1.0, 10.0), (5.0, 5.0), (8.0, 1.0), (1.0, 8.0))
        for _ in range(4)
    ]
    found = fit("h200", runs)
    assert found.seconds_factors["memory"] == pytest.approx(2.0, rel=0.05)
    assert found.seconds_factors["matmul"] == pytest.approx(1.0, rel=0.05)
    assert found.spread is not None
    assert found.spread < 1.1
    timed = corrected(ESTIMATE, found)
    assert timed.step_seconds == pytest.approx(4.0, rel=0.05)
    assert timed.step_seconds_low is not None
    assert timed.step_seconds_high is not None
    assert timed.step_seconds is not None
    assert timed.step_seconds_low < timed.step_seconds < timed.step_seconds_high


def test_one_run_moves_time_part_of_the_way():
    """A single run is believed less than many: the factor lies between 1 and what it says."""
    one = replace(RUN, estimated_seconds={"matmul": 1.0}, step_seconds=2.0)
    first, many = fit("h200", [one]), fit("h200", [one] * 30)
    assert 1.2 < first.seconds_factors["matmul"] < 1.9 < many.seconds_factors["matmul"] < 2.0
    assert first.spread is None


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from("abcd"), st.floats(1e-4, 1e3), min_size=1), st.floats(1e-4, 1e3)
        ),
        max_size=8,
    )
)  # fmt: skip
def test_factors_stay_within_reason(rows):
    """Whatever runs say, no class is taken to be more than five times faster or slower than it should be."""
    found = fit("h200", [replace(RUN, estimated_seconds=row, step_seconds=took) for row, took in rows])
    assert all(0.2 <= factor <= 5 for factor in found.seconds_factors.values())


def test_the_estimate_says_what_corrected_it():
    """A reader sees how many measurements on which card, and what they changed."""
    (note,) = corrected(ESTIMATE, fit("h200", [RUN] * 3)).notes
    assert note.startswith("Corrected by 3 measurements on h200: +40 MiB of reserved memory; time by ")
    assert "matmul ×" in note
    assert corrected(ESTIMATE, Correction(card="l4", measurements=1)).notes == (
        "In line with 1 measurement on l4: nothing to correct.",
    )


def test_a_line_cut_short_costs_only_itself():
    """A crash while writing loses one run; the next one starts on a line of its own."""
    record(RUN)
    with observations_path().open("a") as stream:
        stream.write('{"card": "h2')
    record(RUN)
    assert observations("h200", "torch 2") == (RUN, RUN)


def test_workers_do_not_lose_each_others_runs():
    """Runs recorded at the same time all arrive whole."""
    threads = [threading.Thread(target=record, args=(replace(RUN, step_seconds=float(n)),)) for n in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.step_seconds or 0 for run in observations("h200", "torch 2")) == list(range(1, 21))


def test_it_can_be_switched_off(monkeypatch):
    """With the switch nothing is written, and what is there is not used."""
    record(RUN)
    monkeypatch.setenv("AUTOPEFT_CALIBRATION", "off")
    record(RUN)
    assert observations("h200", "torch 2") == ()
    monkeypatch.delenv("AUTOPEFT_CALIBRATION")
    assert len(observations("h200", "torch 2")) == 1


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch, tmp_path):
    """Losing a correction does not stop a search."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / "file"))
    record(RUN)


def test_a_run_is_kept_beside_what_was_estimated_for_it():
    """An observation holds the estimate by class and what was measured, under the card's and the stack's names."""
    device = card_device(load_card("h200"))
    record(observed(device, ESTIMATE, date="2026-11-21", reserved_bytes=7 * MIB, step_seconds=2.0))
    (kept,) = observations("h200", stack_versions())
    assert kept.estimated_reserved_bytes == 6000 * MIB
    assert kept.estimator == code_digest()
    assert kept.estimated_seconds == {"matmul": 2.0, "memory": 1.0}
    assert (kept.reserved_bytes, kept.step_seconds) == (7 * MIB, 2.0)


def test_a_card_has_one_name():
    """The driver's name and the catalogue's mean one card; an unknown one keeps its own; slices go by their size."""
    planned = card_device(load_card("rtx-3090"))
    assert card_name(planned) == card_name(replace(planned, name="NVIDIA GeForce RTX 3090")) == "rtx-3090"
    assert card_name(replace(planned, name="Experimental 9")) == "Experimental 9"
    half, other = (replace(planned, mig=True, total_memory_bytes=size << 30) for size in (12, 12))
    whole = replace(half, total_memory_bytes=24 << 30)
    assert card_name(half) == card_name(other) == "rtx-3090, slice of 12.0 GiB"
    assert len({card_name(device) for device in (planned, half, whole)}) == 3, "a slice is not as fast as its card"


def test_the_stack_names_what_decides():
    """torch, transformers, peft and bitsandbytes with their versions."""
    assert [part.split()[0] for part in stack_versions().split(", ")] == [
        "torch", "transformers", "peft", "bitsandbytes",
    ]  # fmt: skip
