"""Several worker processes on one study: started, watched, replaced when they die, stopped when one meets an error."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from autopeft.errors import StudyError
from autopeft.tuning.group import MOST_LOST_IN_A_ROW, Group, LostError
from autopeft.tuning.hired import Job, serve
from autopeft.tuning.proposal import Proposal
from autopeft.tuning.study import TrialStudy

LOOK_SECONDS = 0.5
"""Between two looks at the study, for the progress that is shown."""

MOST_IDLE_DEATHS = 3
"""Workers that may die outside a trial before the search gives up: a machine on which none can start."""


def work_together(
    job: Job, proposal: Proposal, hands: Sequence[Group], study: TrialStudy, look: Callable[[], None]
) -> None:  # fmt: skip
    """Runs trials in several processes until no trial is left; a process that dies is replaced.

    Args:
        job: what each works on.
        proposal: the spaces that trials are drawn from, as they were settled.
        hands: groups of one process each, which live on; all end with an error.
        study: the same study, opened by this process.
        look: called every half second.

    Raises:
        StudyError: workers are lost again and again.
        AutopeftError: a worker met it.
        RuntimeError: a worker met a defect; its traceback is the cause.
    """
    idle_deaths, lost_trials, ended = 0, 0, 0
    # A thread waits for each process; what is decided from the study is decided here.
    with ThreadPoolExecutor(len(hands)) as threads:
        try:
            asked = {threads.submit(hand.call, serve, job, proposal): hand for hand in hands}
            while asked:
                for one in wait(asked, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED).done:
                    hand = asked.pop(one)
                    try:
                        one.result()
                    except LostError as lost:
                        before, ended = ended, _ended(study)
                        took = study.lose(lost.process, str(lost))
                        idle_deaths += not took
                        lost_trials = took + (lost_trials if ended == before else 0)
                        if idle_deaths > MOST_IDLE_DEATHS:
                            raise StudyError(_IDLE.format(lost, lost.words)) from lost
                        if lost_trials > MOST_LOST_IN_A_ROW:
                            raise StudyError(_AGAIN.format(lost, lost.words)) from lost
                        asked[threads.submit(hand.call, serve, job, proposal)] = hand
                look()
        except BaseException:
            for hand in hands:
                hand.kill()
            raise


def _ended(study: TrialStudy) -> int:
    return sum(outcome.status != "worker_lost" for outcome in study.outcomes())


_IDLE = "Workers end before they have begun a trial: {}.\n{}"

_AGAIN = "Workers are lost with their trials again and again: {}. What is done is kept: --resume.\n{}"
