"""Devices that train one trial together: the trial is a single process's, and what becomes of it when one is lost."""

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
import torch

from autopeft.errors import InvalidValueError, StudyError
from autopeft.profiling.hardware import probe_hardware
from autopeft.recommend.dividing import undivided
from autopeft.tasks import get_task
from autopeft.training.class_weights import loss_weight
from autopeft.training.parallel import Parallel
from autopeft.tuning import member, opening
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.limits import Limits
from autopeft.tuning.member import environments
from autopeft.tuning.observer import Silent
from autopeft.tuning.prepare import Request, prepare
from autopeft.tuning.session import run_search
from autopeft.tuning.spread import Spread
from autopeft.tuning.teams import check_spread, check_team
from autopeft.tuning.trainer import OwnTrainer, TeamTrainer
from autopeft.values.candidates import Candidate, Constraints, Team
from autopeft.values.plans import Plan
from tests.profiling.fake_nvml import GIB, Card, FakeNvml
from tests.toys import classification_csv, completion_jsonl
from tests.tuning import teamwork

SIZE = TrialSize(tokens=3000, pruning_rows=7, scoring_rows=12)
PLAN = Plan(tokens=3000, seed=1, readings=(0.25, 0.5, 1.0))
LORA = Candidate(
    method="lora", parameters={"rank": 4, "alpha": 8, "dropout": 0.0}, learning_rate=5e-3, batch_size=5, accumulation=2
)
FSDP = Team(strategy="fsdp", devices=2)


@pytest.fixture(scope="module")
def request_(tiny_models, tmp_path_factory):
    source = completion_jsonl(tmp_path_factory.mktemp("data") / "toy.jsonl")
    constraints = Constraints(methods=("lora",))
    return Request(
        model=str(tiny_models["llama"]), data=str(source), task="generation", folds=1, constraints=constraints
    )


@pytest.fixture(scope="module")
def ready(request_):
    return prepare(request_)


@pytest.fixture(scope="module")
def sharing(ready):
    """A group of two that shares the model, for several tests: processes take long to start."""
    trainer = TeamTrainer(replace(ready, team=FSDP))
    yield trainer
    trainer.release()


def members():
    """The processes that groups of this one have running."""
    children = psutil.Process().children(recursive=True)
    return [p for p in children if p.status() != "zombie" and "autopeft.tuning.member" in " ".join(p.cmdline())]


def test_rows_and_losses_are_shared_out_by_what_they_count_for():
    """Every row is one process's, and the shares' mean losses, weighed, come to the mean loss of the whole batch."""
    rows, size = (7, 3, 9, 4, 1), 3
    shares = [Parallel(rank=rank, size=size, strategy="ddp").share(rows) for rank in range(size)]
    assert sorted(row for share in shares for row in share) == sorted(rows)
    labels = torch.tensor([[5, 5, -100], [6, 1, 2], [-100, -100, 3]])
    counted = get_task("generation").counted(labels)
    assert loss_weight(counted, labels, None) == 4, "the first token of a row is not predicted"
    assert loss_weight(get_task("token-classification").counted(labels), labels, None) == 6
    numbers = torch.tensor([-100.0, 2.0])
    assert loss_weight(get_task("regression").counted(numbers), numbers, None) == 2
    classes = torch.tensor([0, 1, 1])
    assert loss_weight(get_task("classification").counted(classes), classes, (0.5, 3.0)) == 6.5


@pytest.mark.parametrize(
    ("team", "objectives", "message"),
    [
        (
            Team(strategy="fdsp", devices=2),  # type: ignore[arg-type]
            (),
            "`--strategy` of a search must be one of ddp, fsdp, none; got 'fdsp'",
        ),
        (Team(devices=2), (), "`--devices` of a search without a strategy must be 1; got 2"),
        (Team(strategy="fsdp"), (), "`--devices` of a search with --strategy fsdp must be at least 2; got 1"),
        (
            FSDP,
            ("quality", "latency"),
            "`--objective` of a search with --strategy fsdp must be quality, memory or time",
        ),
    ],
)
def test_a_team_that_cannot_be_is_refused(team, objectives, message):
    """One sentence says which option is wrong with the strategy."""
    with pytest.raises(InvalidValueError, match=message):
        check_team(team, probe_hardware(), objectives)


def test_more_devices_than_there_are_is_refused():
    """A GPU is not shared by two processes of a team; processors may be."""
    here = probe_hardware()
    gpu = replace(here.device, kind="cuda", name="a card")
    with pytest.raises(InvalidValueError, match="`--devices` of a search must be at most 1, the GPUs"):
        check_team(FSDP, replace(here, devices=(gpu,), selected=0), ())
    check_team(FSDP, replace(here, devices=(replace(gpu, kind="cpu"),), selected=0), ())


def test_slices_of_a_card_are_no_team():
    """CUDA gives a process one slice by itself, so that processes on slices cannot reach each other."""
    here = probe_hardware()
    parts = tuple(replace(here.device, kind="cuda", uuid=f"MIG-{k}", mig=True, exclusive=True) for k in (0, 1))
    with pytest.raises(InvalidValueError, match="`--strategy` of a search on a machine split by MIG must be none; got"):
        check_team(FSDP, replace(here, devices=parts, selected=0), ())


@pytest.fixture
def cards(monkeypatch):
    """Three cards of which the first has the least room, and a torch that could use them."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    driver = FakeNvml(*(Card(uuid=f"GPU-{k}", free=(10 + k) * GIB) for k in range(3)))
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)


def test_what_trains_at_once_has_the_freest_cards(cards, request_):
    """Two processes, or a team of two, plan with the memory of the second freest card, and see those two alone."""
    team = Team(strategy="ddp", devices=2)
    many = prepare(request_, processes=2)
    together = prepare(replace(request_, constraints=replace(request_.constraints, team=team)))
    for prepared in (many, together):
        assert [device.uuid for device in prepared.hardware.devices] == ["GPU-2", "GPU-1"]
        assert prepared.memory_bytes == 11 * GIB
    assert [its["CUDA_VISIBLE_DEVICES"] for its in environments(together)] == ["GPU-2,GPU-1"] * 2
    own = together.on_device(1).hardware.device
    assert (own.uuid, own.index) == ("GPU-1", 1)
    assert prepare(request_).memory_bytes == 12 * GIB


def test_a_search_is_prepared_for_all_its_processes(request_, tmp_path, monkeypatch):
    """What workers of this machine are to try is planned before the first of them starts."""

    def refuse(_request, _folder, *, processes):
        raise StudyError(f"planned for {processes}")

    monkeypatch.setattr(opening, "prepare", refuse)
    limits = Limits(trials=1, seconds=None, tokens=None)
    with (
        pytest.raises(StudyError, match="planned for 3"),
        opening.opened(request_, OutputFolder(tmp_path), limits, Spread(workers=3), Silent(), resume=False),
    ):
        pass


@pytest.mark.parametrize(
    ("spread", "message"),
    [
        (Spread(ray=""), "`--ray` of a search with --strategy fsdp must be left out"),
        (Spread(workers=2), "`--workers` of a search with --strategy fsdp must be left out"),
        (Spread(gpus=("0", "1", "2")), "`--gpus` of a search with --strategy fsdp must be the names of its 2 devices"),
    ],
)
def test_a_team_is_not_spread(spread, message):
    """Trials that take several devices each are not run beside each other, and are told so before anything runs."""
    with pytest.raises(InvalidValueError, match=message):
        check_spread(FSDP, spread)


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"method": "eva"}, "It starts from data"),
        ({"method": "compacter"}, "Its parameters cannot be sharded"),
        ({"quantization": "nf4"}, "quantized to nf4 cannot be sharded"),
        ({"optimizer": "lion"}, "The state of lion cannot be sharded"),
        ({"layers": "gradient:2"}, "found in one process"),
        ({"dtype": "float16"}, "Gradients in float16"),
    ],
)
def test_what_cannot_be_shared_out_says_why(changes, because):
    """What a declaration rules out is a reason, and none on one device."""
    candidate = replace(LORA, **changes)
    assert because in " ".join(undivided(candidate, "decoder", FSDP))
    assert undivided(candidate, "decoder", Team()) == ()


def test_an_encoder_decoder_is_not_sharded():
    """Accelerate cannot divide embeddings that two stacks share; each process may hold them whole."""
    assert "An encoder-decoder" in " ".join(undivided(LORA, "seq2seq", FSDP))
    assert undivided(LORA, "seq2seq", Team(strategy="ddp", devices=2)) == undivided(LORA, "decoder", FSDP) == ()


def test_a_method_that_cannot_be_sharded_is_refused_by_name(autopeft, request_, tmp_path):
    """The search ends before anything is loaded, with the method and its reason, and leaves no folder."""
    said = autopeft(
        "search", "--model", request_.model, "--data", request_.data, "--task", "generation", "--methods", "compacter",
        "--strategy", "fsdp", "--devices", "2", "--output", tmp_path / "out",
    )  # fmt: skip
    assert said.code == 3
    assert "compacter: Its parameters cannot be sharded." in " ".join(said.err.split())
    assert not (tmp_path / "out").exists()


def test_processes_on_a_processor_share_its_memory(request_, ready):
    """Two processes have half of the memory each, and a study of theirs is not another team's."""
    shared = prepare(replace(request_, constraints=replace(request_.constraints, memory_bytes=10**9, team=FSDP)))
    assert shared.memory_bytes == 10**9 // 2
    assert shared.identity(request_)["team"] == "fsdp on 2 devices"
    assert "team" not in ready.identity(request_)


def run(trainer, states, stops, earlier=None):
    return trainer.runner(SIZE, states).run(3, LORA, PLAN, stops, float("inf"), earlier)


def stopped_and_continued(trainer, states):
    """A trial that stops at its second reading, and the one that goes on from there."""
    first = run(trainer, states, lambda reading: reading.tokens > 1000)
    second = run(trainer, states, lambda _: False, first)
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fsdp", "ddp"])
def test_a_trial_is_that_of_a_single_process(ready, sharing, tmp_path, strategy):
    """Same tokens, losses and metrics with batches that do not divide, stopped and resumed from its state."""
    other = TeamTrainer(replace(ready, team=Team(strategy="ddp", devices=2)))
    try:
        shared = stopped_and_continued(sharing if strategy == "fsdp" else other, tmp_path / "shared")
    finally:
        other.release()
    alone = stopped_and_continued(OwnTrainer(ready), tmp_path / "alone")
    assert [outcome.status for outcome in shared] == ["pruned", "completed"]
    for found, expected in zip(shared, alone, strict=True):
        assert found.tokens == expected.tokens
        for field in ("tokens", "train_loss", "validation_loss"):
            mine, single = ([getattr(reading, field) for reading in o.curve] for o in (found, expected))
            assert mine == pytest.approx(single, abs=2e-6), field
        assert found.trainable_parameters == expected.trainable_parameters
    assert shared[1].metrics == pytest.approx(alone[1].metrics, rel=1e-5)


@pytest.mark.slow
def test_each_process_holds_half_of_a_sharded_model(sharing):
    """Sharded means sharded: frozen and trained parameters alike."""
    for local, every in sharing._group.call(teamwork.held, LORA):
        assert local == pytest.approx(every / 2, rel=0.01)


@pytest.mark.slow
def test_every_method_that_claims_to_be_shardable_is(ready, sharing):
    """Its sharded losses are those of a single process."""
    candidates = teamwork.shardable(ready)
    assert len(candidates) > 30
    assert differing(sharing, ready, candidates) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "task"), [("bert", "classification"), ("gpt2", "generation")])
def test_any_kind_of_model_can_be_sharded(sharing, request_, tiny_models, tmp_path, architecture, task):
    """Encoders, whose embeddings are a layer class, and tied embeddings train as in a single process."""
    source = classification_csv(tmp_path / "toy.csv") if task == "classification" else request_.data
    asked = Request(model=str(tiny_models[architecture]), data=str(source), task=task, folds=1)
    full = Candidate(method="full", targets="none", learning_rate=1e-3, batch_size=5)
    checkpointed = replace(LORA, gradient_checkpointing=True, batch_size=1)
    assert differing(sharing, prepare(asked), [full, checkpointed]) == {}


def differing(sharing, prepared, candidates):
    """Losses of shared and of single training by method, where they are not the same."""
    found = sharing._group.call(teamwork.losses, prepared, candidates)[0]
    worker = prepared.worker()
    single = {candidate.method: teamwork.trained(worker, prepared, candidate) for candidate in candidates}
    return {
        method: (found[method], losses)
        for method, losses in single.items()
        if losses != pytest.approx(found[method], abs=1e-5)
    }


@pytest.mark.slow
def test_memory_that_runs_out_in_one_process_ends_all(sharing, tmp_path, monkeypatch):
    """While the first process waits for the second, the trial is an infeasible observation, and none is left behind."""
    monkeypatch.setattr(member, "train", teamwork.train_short_of_memory)
    outcome = run(sharing, tmp_path, lambda _: False)
    assert (outcome.status, outcome.reason) == ("out_of_memory", "CUDA out of memory")
    assert outcome.peak_bytes is not None
    assert not members()


@pytest.mark.slow
def test_a_defect_in_one_process_ends_all(sharing):
    """A programming error is raised with its traceback, never a bad score, and no process waits for ever."""
    with pytest.raises(RuntimeError, match="met KeyError: 'a typo'") as caught:
        sharing._group.call(teamwork.broken)
    assert "teamwork.py" in str(caught.value.__cause__)
    assert not members()


def small(request_):
    """A search of a team of two whose trials take seconds, and of which nothing is kept as evidence."""
    return replace(request_, constraints=replace(request_.constraints, team=FSDP), tokens=1500, teach=False)


class Killing(Silent):
    """Kills a process of the group when the first trial begins."""

    def __init__(self) -> None:
        self.killed = 0

    def trial_started(self, number, candidate):
        if not self.killed:
            self.killed = members()[1].pid
            os.kill(self.killed, signal.SIGKILL)


@pytest.mark.slow
def test_a_search_survives_a_process_that_is_killed(request_, tmp_path):
    """The trial is recorded as lost with the signal and repeated, the search comes to its end, none is left behind."""
    asked = small(request_)
    observer = Killing()
    result = run_search(asked, tmp_path / "out", Limits(trials=2), resume=False, observer=observer)
    assert observer.killed
    assert result.trials["worker_lost"] == 1
    assert result.trials["completed"] + result.trials["pruned"] == 2
    rows = (tmp_path / "out" / "trials.csv").read_text()
    assert "its process was killed, as the kernel does when memory runs out" in rows
    assert result.references["untuned"].value > 0
    assert not members()
    with pytest.raises(StudyError, match="holds another study: team differ"):
        run_search(replace(asked, constraints=request_.constraints), tmp_path / "out", Limits(trials=2), resume=True,
                   observer=Silent())  # fmt: skip


@pytest.mark.slow
def test_a_search_whose_owner_is_killed_resumes(request_, tmp_path):
    """The processes of a team end with their owner; what was open is recorded as lost, and the search goes on."""
    asked = small(request_)
    (tmp_path / "request.pickle").write_bytes(pickle.dumps(asked))
    out = tmp_path / "out"
    owner = subprocess.run(
        [sys.executable, "-m", "tests.tuning.mortal", tmp_path / "request.pickle", out, "2"],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    team = [int(pid) for pid in owner.stdout.split()]
    assert owner.returncode == -signal.SIGKILL
    assert len(team) == FSDP.devices
    deadline = time.monotonic() + 30
    while left := [pid for pid in team if running(pid)]:
        assert time.monotonic() < deadline, f"{left} outlive their owner"
        time.sleep(0.1)
    trials = run_search(asked, out, Limits(trials=2), resume=True, observer=Silent()).trials
    assert trials["worker_lost"] == 1
    assert trials["completed"] >= 1
    assert sum(trials.values()) == 3, "the one that was lost, its repetition, and another one"


def running(pid):
    """Whether a process is there, and not as a zombie that nobody has waited for."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_process_killed_in_the_middle_of_a_trial_loses_it(sharing, tmp_path):
    """Killed between two readings, one process takes the trial with it, whoever notices first."""

    def stops(_reading):
        os.kill(members()[1].pid, signal.SIGKILL)
        return False

    outcome = run(sharing, tmp_path, stops)
    assert outcome.status == "worker_lost"
    assert "killed" in outcome.reason
    assert not members()
