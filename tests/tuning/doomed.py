"""Runners without torch for the tasks of a cluster: see `test_cluster.py`."""

import os
import signal
from typing import Any

from tests.tuning.swarm import StatefulRunner


class Doomed(StatefulRunner):
    """Dies with its process in the third trial, and goes on from a state alone."""

    def run(self, number, candidate, plan, stops, deadline, earlier):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if earlier is not None and not (self.states / f"{earlier.number}.safetensors").exists():
            raise FileNotFoundError(f"the state of trial {earlier.number} has not come along")
        return super().run(number, candidate, plan, stops, deadline, earlier)


class Broken(StatefulRunner):
    """Has a defect."""

    def run(self, number, *arguments):
        raise KeyError("a typo in a task")


def maker(job: Any) -> tuple[StatefulRunner, float]:
    return Doomed(job.states), 1000.0


def broken(job: Any) -> tuple[StatefulRunner, float]:
    return Broken(job.states), 1000.0
