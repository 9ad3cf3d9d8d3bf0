"""The processes that a crew's search has on this machine: they run its trials, and then hold its comparison."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from autopeft.tuning import member
from autopeft.tuning.beside import CrewContest
from autopeft.tuning.contest import Contest
from autopeft.tuning.crew import Crew
from autopeft.tuning.group import Group
from autopeft.tuning.hired import Job
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.workers import work_together
from autopeft.values.plans import Plan


class Hands:
    """As many processes as a crew has, each with its own GPU or its share of the processor; they start when asked."""

    def __init__(self, shared: Prepared, crew: Crew, logs: Path) -> None:
        """Prepares them.

        Args:
            shared: the search, as one of the processes sees it.
            crew: how many, and where.
            logs: folder in which each writes what is not for the user.
        """
        logs.mkdir(parents=True, exist_ok=True)
        self._groups = [
            Group(shared, [crew.environment(slot)], [logs / f"{slot}.log"]) for slot in range(crew.size)
        ]  # fmt: skip
        self._folder = tempfile.TemporaryDirectory(prefix="autopeft-")

    def work(self, job: Job, study: TrialStudy, look: Callable[[], None]) -> None:
        """Runs trials until none is left: see `autopeft.tuning.workers.work_together`."""
        work_together(job, self._groups, study, look)

    def contest(self, plan: Plan, *, seconds: float, racing_rows: int) -> Contest:
        """Returns what trains the contenders at the end."""
        terms = member.Terms(plan=plan, seconds=seconds, racing_rows=racing_rows)
        return CrewContest(self._groups, terms, Path(self._folder.name))

    def release(self) -> None:
        """Ends the processes, and removes what contenders on their way have left."""
        for group in self._groups:
            group.close()
        self._folder.cleanup()
