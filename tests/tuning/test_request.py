"""What a search is asked for: wrong names and spaces are refused, limits hold, and data are folded as asked."""

import csv
from dataclasses import replace
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest

from autopeft.errors import AutopeftError, DeviceError, FileFormatError, NothingFitsError
from autopeft.profiling.hardware import probe_hardware
from autopeft.training.worker import Worker
from autopeft.tuned import TunedConfig
from autopeft.tuning import session
from autopeft.tuning.crew import crew_unasked
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.folding import parts_of
from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Silent
from autopeft.tuning.opening import opened
from autopeft.tuning.prepare import Prepared, Request, prepare
from autopeft.tuning.session import dry_run, run_search
from autopeft.tuning.spread import Spread
from autopeft.values.candidates import Candidate, Constraints, Team
from tests.toys import completion_jsonl

pytestmark = pytest.mark.usefixtures("stored")

SPEED = 10_000.0
"""Tokens a second of the tiny model, about."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1\n", r"`learning_rat` is not a known key. Did you mean 'learning_rate'"),
        ("", "`learning_rate` is missing"),
        ("learning_rate: {low: 0.1, high: 0.001}\n", "low ≤ high"),
        ("learning_rate: {low: 1.0e-5, high: 50.0}\n", r"`learning_rate` must lie in the legal domain .*50"),
        ("learning_rate: {low: 1.0e-4}\n", "either `low` and `high`, or `choices`"),
    ],
)
def test_a_wrong_search_space_is_named(request_, tmp_path, text, message):
    """An unknown key or an illegal range in a search-space file stops the search before anything is loaded."""
    (tmp_path / "ia3.yaml").write_text(
        "schema_version: 1\nmethod: ia3\nparameters: {}\ntargets: [all-linear]\nlayers: [all]\n"
        "quantization: [none]\noptimizer: [adamw]\nbatch_size: [16]\n" + text
    )
    with pytest.raises(FileFormatError, match=message):
        prepare(replace(request_, constraints=Constraints(methods=("ia3",)), spaces=tmp_path))


def test_nothing_fits(request_):
    """A budget that no method meets is an error of its own, with the exit code for it."""
    with pytest.raises(NothingFitsError, match="GiB") as caught:
        prepare(replace(request_, constraints=Constraints(memory_bytes=1000)))
    assert caught.value.exit_code == 3


def test_a_gpu_that_torch_cannot_use_is_no_plan(request_, monkeypatch):
    """A card that torch cannot use is here for the driver alone: torch would train on the processor."""
    card = probe_hardware(gpu="rtx-3090")
    monkeypatch.setattr("autopeft.tuning.prepare.probe_hardware", lambda: card)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="GeForce RTX 3090 is here, but torch"):
        prepare(request_)


def test_every_trial_is_infeasible(request_, tmp_path, monkeypatch):
    """Where no trial may run the search ends with exit code 3, keeps its study, and advises memory, not time."""
    no_room = "It is estimated to need 9 GiB; there are 1 GiB."
    monkeypatch.setattr(Prepared, "obstacles", lambda *_: [no_room])
    with pytest.raises(NothingFitsError, match=f"(?s)2 infeasible.*{no_room}.*--memory") as caught:
        run_search(request_, tmp_path / "out", Limits(trials=2, seconds=None), resume=False, observer=Silent())
    assert caught.value.exit_code == 3
    assert "--time" not in str(caught.value)
    assert (tmp_path / "out" / "trials.csv").exists()
    assert not (tmp_path / "out" / "tuned.yaml").exists()


def test_a_limit_on_trained_parameters(request_):
    """A share of the model's parameters bounds what is started, and what is drawn later."""
    prepared = prepare(replace(request_, max_trainable="40%"))
    assert prepared.max_trainable == int(0.4 * prepared.model.parameters)
    assert all(not prepared.obstacles(candidate) for candidate in prepared.starts)
    tight = replace(prepared, max_trainable=10)
    assert "the limit is 10" in " ".join(tight.obstacles(prepared.starts[0]))


def test_a_dry_run_downloads_nothing(request_, monkeypatch):
    """Where weights are not here yet their size is said, and speed is estimated without them."""
    monkeypatch.setattr("autopeft.tuning.session.download_bytes", lambda _: 1)
    monkeypatch.setattr("autopeft.tuning.cost.download_bytes", lambda _: 1_000_000)
    monkeypatch.setattr(Worker, "base", lambda *_: pytest.fail("weights were loaded"))
    _, cost = dry_run(request_, Limits(trials=6, seconds=None))
    assert cost.download_bytes == 1_000_000
    assert cost.tokens_per_second > 0
    assert cost.trial_seconds > 0


def test_a_dry_run_refuses_what_the_search_would(request_):
    """GPUs that are not here, another kind of database and a team that is to be spread are no plan either."""
    many = tuple(str(number) for number in range(99))
    team = replace(request_.constraints, team=Team(strategy="ddp", devices=2))
    wrong = [
        (request_, Spread(gpus=many, workers=100), "`--(gpus|workers)` of a search must be"),
        (request_, Spread(storage="mysql://host/db"), "`--storage` of a search must be"),
        (replace(request_, constraints=team), Spread(workers=2), "`--workers` of a search with --strategy ddp must be"),
    ]
    for request, spread, message in wrong:
        with pytest.raises(AutopeftError, match=message):
            dry_run(request, Limits(trials=1), spread)


def test_repeats_need_folds():
    """Where the plain split is large enough nothing is repeated, and that is said rather than passed over."""
    large: Any = SimpleNamespace(rows={"train": range(5000)})
    with pytest.raises(AutopeftError, match="`--repeats` of a search with 5,000 training rows must be left out; got 2"):
        parts_of(large, None, 2, 0)
    assert parts_of(large, None, None, 0) == []


def test_small_data_is_cross_validated_more_than_once(request_):
    """Each repeat has folds of its own, and within a repeat every row is validated on exactly once."""
    request = replace(request_, folds=3, repeats=2)
    prepared = prepare(request)
    rows = len(prepared.data.rows["train"]) + len(prepared.data.rows["validation"])
    held = [
        [tuple(part["validation"][row]["input_ids"]) for row in range(len(part["validation"]))]
        for part in prepared.parts
    ]
    assert [len(prepared.parts), len(prepare(replace(request_, folds=None)).parts)] == [6, 6]
    assert sum(map(len, held[:3])) == sum(map(len, held[3:])) == rows
    assert sorted(held[0]) != sorted(held[3])
    with pytest.raises(AutopeftError, match="at most 20"):
        prepare(replace(request_, folds=11))


def test_a_search_too_short_for_folds_says_so(request_, monkeypatch):
    """Where a tenth of the time is not three epochs, a trial takes one fold of six, and a note says it."""
    # Both plans are for one speed: two measurements on a machine that does other things too may lie far apart.
    monkeypatch.setattr(session, "_measured", lambda *_: SPEED)
    short = replace(request_, folds=None, tokens=None)
    prepared, cost = dry_run(short, Limits(seconds=0.5))
    assert any("takes 1 of the folds" in note for note in prepared.notes)
    asked, dearer = dry_run(replace(short, folds=3, repeats=2), Limits(seconds=0.5))
    assert not any("of the folds" in note for note in asked.notes)
    assert cost.tokens > dearer.tokens


def test_a_timed_search_on_processors_is_planned_for_its_processes(request_, tmp_path):
    """What is announced, and what is opened, is for as many trials at once as the machine's cores suit."""
    if probe_hardware().device.kind != "cpu":
        pytest.skip("a GPU does the work")
    timed = Limits(seconds=60.0)
    prepared, cost = dry_run(request_, timed)
    crew = crew_unasked(prepared, timed)
    assert cost.at_once == (1 if crew is None else crew.size)
    with opened(request_, OutputFolder(tmp_path / "out"), timed, Spread(), Silent(), resume=False) as search:
        assert search.crew == crew
    assert dry_run(request_, Limits(trials=6))[1].at_once == 1


def test_a_start_outside_its_space_is_said(request_, tmp_path):
    """A recommended start that a user's own space excludes is moved into it, and the notes say which value."""
    (tmp_path / "ia3.yaml").write_text(
        "schema_version: 1\nmethod: ia3\nlearning_rate: {low: 1.0e-4, high: 2.0e-4}\n"
        "targets: [all-linear]\nlayers: [all]\nquantization: [none]\noptimizer: [adamw]\nbatch_size: [16]\n"
    )
    prepared = prepare(replace(request_, constraints=Constraints(methods=("ia3",)), spaces=tmp_path))
    assert any("ia3" in note and "learning_rate" in note and "0.0002" in note for note in prepared.notes)


def test_a_user_metric_decides(request_, tmp_path, monkeypatch):
    """--metric package.module:function is called with predictions and truths, and its name stands in the result."""
    (tmp_path / "mine.py").write_text(
        "def share(predicted, expected):\n    return sum(map(bool, predicted)) / len(expected)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    result = run_search(
        replace(request_, metric="mine:share", constraints=Constraints(methods=("ia3",)), class_weights=True),
        tmp_path / "out", Limits(trials=1, seconds=None), resume=False, observer=Silent(),
    )  # fmt: skip
    assert result.winner.test.metric == "mine:share"
    assert TunedConfig.load(tmp_path / "out" / "tuned.yaml").data.class_weights is not None


def test_folds_and_generation(tiny_models, tmp_path):
    """A decoder is tuned on completions, each trial scored over folds; perplexity decides and lower is better."""
    source = completion_jsonl(tmp_path / "pairs.jsonl")
    request = Request(
        model=str(tiny_models["llama"]), data=str(source), tokens=400, folds=2, repeats=1,
        constraints=Constraints(methods=("lora", "prefix_tuning")),
    )  # fmt: skip
    result = run_search(request, tmp_path / "out", Limits(trials=3, seconds=None), resume=False, observer=Silent())
    assert result.winner.test.metric == "perplexity"
    assert set(result.references) == {"untuned"}
    with (tmp_path / "out" / "trials.csv").open() as stream:
        completed = [row for row in csv.DictReader(stream) if row["status"] == "completed"]
    assert all(int(row["tokens"]) >= 800 for row in completed)
    best = max(completed, key=lambda row: float(row["score"]))
    assert best["method"] == result.winner.config.method


def test_unknown_names_are_refused_before_anything_is_loaded(request_):
    """A method, task or column that is not there is named with its closest match."""
    wrong = [
        (replace(request_, constraints=Constraints(methods=("lorra",))), "Did you mean 'lora'"),
        (replace(request_, task="clasification"), "Did you mean 'classification'"),
        (replace(request_, columns={"text": "txt"}), "text"),
        (replace(request_, data="missing.csv"), "missing.csv"),
        (replace(request_, model="missing-model"), "missing-model"),
        (replace(request_, folds=0), "at least 1"),
    ]
    for request, message in wrong:
        with pytest.raises(AutopeftError, match=message):
            prepare(request)


def test_a_method_is_asked_about_the_steps_of_a_real_trial(request_):
    """What schedules its ranks over a run refuses one that is too short before it is tried, and not in it."""
    prepared = prepare(request_)
    parameters = {"rank": 2, "initial_rank": 4, "alpha": 8, "dropout": 0.0}
    scheduled = Candidate(method="adalora", parameters=parameters, learning_rate=1e-3, batch_size=8)
    step = 8 * fmean(prepared.encoded["train"].lengths)
    assert prepared.guided(round(20 * step)).obstacles(scheduled) == []
    assert prepared.guided(round(20 * step)).setup(scheduled).total_steps in (19, 20)
    assert "at least 10 optimizer steps; got 4" in " ".join(prepared.guided(round(4.5 * step)).obstacles(scheduled))


def test_a_method_that_needs_many_steps_is_measured_and_tried(request_, tmp_path):
    """Where it is all that is asked for, its speed is that of the first steps of a run that is long enough for it."""
    constraints = Constraints(methods=("adalora",))
    long = replace(request_, constraints=constraints, tokens=3000)
    run_search(long, tmp_path / "long", Limits(trials=1, seconds=None), resume=False, observer=Silent())
    assert (tmp_path / "long" / "tuned.yaml").exists()
    short = replace(long, tokens=500)
    with pytest.raises(NothingFitsError, match=r"(?s)1 infeasible.*needs at least 10 optimizer steps"):
        run_search(short, tmp_path / "short", Limits(trials=1, seconds=None), resume=False, observer=Silent())


def test_memory_as_an_objective_opens_the_quantization(request_):
    """Then a smaller base is worth its quality to somebody; where quality alone counts, the recommender's stands."""
    asked = replace(request_, constraints=Constraints(methods=("lora",)))
    assert prepare(asked).proposal.spaces["lora"].quantization == ("none",)
    front = prepare(replace(asked, objectives=("quality", "memory")))
    assert front.proposal.spaces["lora"].quantization == ("none", "int8", "nf4")
    again = front.starting_from(front.starts, None)
    assert again.proposal.spaces == front.proposal.spaces, "a resumed search draws from the same"
