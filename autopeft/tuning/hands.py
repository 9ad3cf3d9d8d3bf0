"""The processes that a crew's search has on this machine: they run its trials, and then hold its comparison."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

from autopeft.errors import StudyError
from autopeft.tuning import member
from autopeft.tuning.beside import CrewContest
from autopeft.tuning.contest import Contest
from autopeft.tuning.crew import Crew
from autopeft.tuning.group import Group, LostError
from autopeft.tuning.hired import Job, own_speed
from autopeft.tuning.prepare import Prepared
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.study import TrialStudy
from autopeft.tuning.workers import work_together
from autopeft.values.plans import Plan

AHEAD = ("torch", "transformers.models.auto.modeling_auto", "peft")
"""What takes longest to load of what a training needs."""


class Hands:
    """As many processes as a crew has, each with its own GPU or its share of the processor; they start when asked."""

    def __init__(self, crew: Crew, logs: Path | None = None) -> None:
        """Prepares them.

        Args:
            crew: how many, and where.
            logs: folder in which each writes what is not for the user; a temporary one by default.
        """
        self.crew = crew
        self._groups = [
            Group(None, [crew.environment(slot)], [] if logs is None else [logs / f"{slot}.log"])
            for slot in range(crew.size)
        ]
        self._folder = tempfile.TemporaryDirectory(prefix="autopeft-")

    @property
    def at_once(self) -> int:
        """How many contenders are trained side by side."""
        return self.crew.size

    def start(self) -> None:
        """Starts the processes ahead of their first question: they load libraries meanwhile."""
        for group in self._groups:
            group.start(AHEAD)

    def tell(self, prepared: Prepared) -> None:
        """Tells them of the search, as it is before its trials are settled."""
        shared = self.crew.share(prepared)
        for group in self._groups:
            group.prepared = shared

    def speed(self) -> float:
        """Returns training tokens per second of a process: the mean of all that live, which measure at the same time.

        One that is killed is started anew when it is asked next.

        Raises:
            OutOfMemoryError: one row at a time does not fit.
            StudyError: all processes were killed.
        """
        found: list[float] = []
        lost: LostError | None = None
        with ThreadPoolExecutor(len(self._groups)) as threads:
            try:
                asked = [threads.submit(group.call, own_speed) for group in self._groups]
                for one in asked:
                    try:
                        found += one.result()
                    except LostError as error:
                        lost = error
            except BaseException:
                self._kill()
                raise
        if not found:
            raise StudyError(f"A worker ended while its speed was measured: {lost}.\n{lost and lost.words}") from lost
        return fmean(found)

    def work(self, job: Job, proposal: Proposal, study: TrialStudy, look: Callable[[], None]) -> None:
        """Runs trials until none is left: see `autopeft.tuning.workers.work_together`."""
        work_together(job, proposal, self._groups, study, look)

    def contest(self, plan: Plan, *, seconds: float, racing_rows: int) -> Contest:
        """Returns what trains the contenders at the end."""
        terms = member.Terms(plan=plan, seconds=seconds, racing_rows=racing_rows)
        return CrewContest(self._groups, terms, Path(self._folder.name))

    def release(self) -> None:
        """Ends the processes, and removes what contenders on their way have left."""
        for group in self._groups:
            group.close()
        self._folder.cleanup()

    def _kill(self) -> None:
        for group in self._groups:
            group.kill()
