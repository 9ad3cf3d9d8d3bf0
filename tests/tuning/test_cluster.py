"""Trials as tasks of a Ray cluster: a local one, with Ray in a folder of its own, beside this environment's torch."""

import json
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from autopeft.cli.search import SearchCommand
from autopeft.errors import InvalidValueError, StudyError
from autopeft.tuning.cluster import Rung, _crew, connected, train_rung, work_on_cluster
from autopeft.tuning.crew import Crew
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.halving import READINGS
from autopeft.tuning.spread import Spread
from tests.environments import ROOT, ray_folder
from tests.tuning.child import STARTS, job, open_study, prepared
from tests.tuning.swarm import stateful
from tests.tuning.test_crew import machine


def test_a_task_for_each_gpu_of_the_cluster():
    """Without a number there is one task for each GPU; each sees its own as the first."""
    crew = _crew({"GPU": 4.0, "CPU": 32.0}, Spread(ray=""), machine(1))
    assert (crew.size, crew.gpus, crew.threads) == (4, ("0",) * 4, 8)
    without = _crew({"CPU": 8.0}, Spread(ray="", workers=3), machine(0))
    assert (without.size, without.gpus, without.threads) == (3, (), 2)


@pytest.mark.parametrize(
    ("resources", "spread", "gpus", "message"),
    [
        (
            {"GPU": 2.0},
            Spread(ray="", workers=3),
            1,
            "`--workers` of a search must be at most 2, one task for each GPU",
        ),
        ({"GPU": 2.0}, Spread(ray="head:6379"), 0, "`--ray` of a search must be given on a machine like the cluster's"),
        ({"GPU": 2.0}, Spread(ray="", gpus=("0",)), 1, "`--gpus` of a search on a Ray cluster must be left out"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(resources, spread, gpus, message):
    """More tasks than GPUs, a machine that cannot compare, and GPUs that Ray shares out are named."""
    with pytest.raises(InvalidValueError, match=message):
        _crew(resources, spread, machine(gpus))


def test_without_ray_one_sentence_says_what_to_install(monkeypatch):
    """Ray is an extra."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StudyError, match=r"needs ray: pip install 'autopeft\[ray\]'"), connected(Spread(), machine(0)):
        pass


def test_nothing_lies_on_a_node_between_two_tasks(tmp_path, monkeypatch):
    """A task gives its state back and removes its folder, since Ray ends its processes without a word."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for number in range(2):
        rung = Rung(number=number, candidate=STARTS[0], before=None, state=None, seconds=60.0)
        outcome, state = train_rung("key", prepared(), job(tmp_path / "out", 2, stateful), rung)
        assert (outcome.status, state) == ("pruned", b"")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "address"),
    [(["--ray"], ""), (["--ray", "--seed", "1"], ""), (["--ray", "head:6379"], "head:6379"), ([], None)],
)
def test_the_address_may_be_left_out(arguments, address):
    """`--ray` alone, before another option and with an address are all understood."""
    import typer

    from autopeft.cli import search

    app = typer.Typer()
    app.command("search", cls=SearchCommand)(search.command)
    command: Any = typer.main.get_command(app)
    context = command.make_context("search", ["--model", "m", "--data", "d", *arguments])
    assert context.params["ray"] == address


SCRIPT = """
import json, sys, time
from pathlib import Path
from autopeft.tuning.cluster import connected, work_on_cluster
from autopeft.tuning.spread import Spread
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.observer import Silent
from autopeft.tuning.watch import Watch
from tests.tuning import doomed
from tests.tuning.child import job, open_study, prepared
from tests.tuning.swarm import told
from tests.tuning.test_crew import machine
where = Path(sys.argv[1])
folder, study = OutputFolder(where), open_study(where)
with connected(Spread(ray="", workers=2), machine(0)) as crew:
    look = Watch(study, Silent(), lambda: 0.0, 2).look
    work_on_cluster(prepared(), job(where, 12, doomed.maker), crew, study, folder, look)
    told_now = {"ended": [o.status for o in study.outcomes()], "trials": told(study, where)}
    told_now["curves"] = [len(o.curve) for o in study.outcomes() if o.status == "completed"]
    try:
        work_on_cluster(prepared(), job(where, 14, doomed.broken), crew, study, folder, lambda: None)
    except KeyError as error:
        told_now["error"] = str(error)
print(json.dumps(told_now))
"""


@pytest.mark.slow
def test_trials_run_as_tasks_and_a_killed_one_is_repeated(tmp_path):
    """Every trial runs once; one whose process is killed is lost and repeated; a defect in a task stops the search."""
    path = os.pathsep.join([str(ROOT), str(ray_folder())])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert sum(status != "worker_lost" for status in told["ended"]) == 12
    assert told["ended"].count("worker_lost") == 1
    assert sum(t["retry"] is not None for t in told["trials"]) == 1
    assert told["curves"], "no trial came to its end"
    assert set(told["curves"]) == {len(READINGS)}  # each reading once, though every rung was another task
    assert "a typo in a task" in told["error"]


class FakeRay(ModuleType):
    """A cluster in this process: every task runs at once, the first ones end with the errors it is given."""

    def __init__(self, errors):
        super().__init__("ray")
        self.errors = list(errors)
        self.told: dict[int, Any] = {}

    def put(self, value):
        return value

    def remote(self, function):
        def run(*arguments):
            error = self.errors.pop(0) if self.errors else None
            self.told[len(self.told)] = error or function(*arguments)
            return len(self.told) - 1

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=run))

    def wait(self, references, timeout):
        return references, []

    def get(self, reference):
        told = self.told[reference]
        if isinstance(told, Exception):
            raise told
        return told


def test_a_node_that_is_lost_takes_no_search_along(tmp_path, monkeypatch):
    """Whatever Ray calls the end of a worker, its node or its raylet: the trial is lost, and tried once more."""
    names = ("WorkerCrashedError", "OutOfMemoryError", "ObjectLostError", "NodeDiedError", "LocalRayletDiedError")
    errors = {name: type(name, (Exception,), {}) for name in names}
    fake: Any = FakeRay([errors["NodeDiedError"](), errors["LocalRayletDiedError"]()])
    fake.exceptions = SimpleNamespace(**errors)
    monkeypatch.setitem(sys.modules, "ray", fake)
    study = open_study(tmp_path)
    crew = Crew(size=1, gpus=(), threads=1)
    work_on_cluster(prepared(), job(tmp_path, 4, stateful), crew, study, OutputFolder(tmp_path), lambda: None)
    outcomes = study.outcomes()
    lost = [outcome for outcome in outcomes if outcome.status == "worker_lost"]
    assert [outcome.reason.rpartition(" ")[2] for outcome in lost] == ["NodeDiedError", "LocalRayletDiedError"]
    assert sum(outcome.status != "worker_lost" for outcome in outcomes) == 4
    assert {outcome.candidate.method for outcome in lost} <= {o.candidate.method for o in outcomes if o not in lost}
