"""Processes that train one model together, or one that trains alone: started as one, asked as one, ended as one.

Each runs `autopeft.tuning.member`. What one is asked, all are; one that dies or meets an error, or runs out of memory
while the others wait for it, ends them all, and the next question starts new ones. They end with their owner too.
"""

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from autopeft.tuning.fates import cause_of_death, met
from autopeft.tuning.member import Answer, Asked, Call, Done, Failed, Function, Place
from autopeft.tuning.prepare import Prepared

MOST_LOST_IN_A_ROW = 8
"""Trials that may lose their process, none coming to an end between them, before a search gives up: each would."""

GRACE_SECONDS = 2.0
"""After one process has failed, another one that was killed and so caused it shows within these."""

_START = (
    "import pickle, sys; sys.path[:], ahead = pickle.load(sys.stdin.buffer);"
    "from autopeft.tuning.member import main; main(ahead)"
)
_LAST_WORDS = 1000


class LostError(Exception):
    """One of the processes ended without a word; the message says how.

    Attributes:
        process: its number.
        words: the end of its log.
    """

    def __init__(self, message: str, process: int = 0, words: str = "") -> None:
        """Says how it ended."""
        super().__init__(message)
        self.process, self.words = process, words


@dataclass(frozen=True, kw_only=True)
class _Member:
    process: "subprocess.Popen[bytes]"
    logs: list[Path]

    def send(self, message: Any) -> None:
        if self.process.stdin is None:
            raise RuntimeError("A process of the group has no standard input.")
        with suppress(BrokenPipeError):  # one that has died is seen when it is listened to
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()

    def hear(self) -> Any:
        """Returns the next message, None where the process has ended before it was whole."""
        try:
            return pickle.load(self.process.stdout) if self.process.stdout else None
        except (EOFError, pickle.UnpicklingError):
            return None


class Group:
    """So many processes on this machine; they start with the first question, or ahead of it."""

    def __init__(
        self, prepared: Prepared | None, environments: Sequence[Mapping[str, str]], logs: Sequence[Path] = ()
    ) -> None:  # fmt: skip
        """Prepares the group.

        Args:
            prepared: the search, as its processes see it; None where it is to come.
            environments: of each process, by rank; a search that trains on one device has groups of one.
            logs: where each writes what is not for the user once it is asked; a temporary file until then, and by
                default.
        """
        self.prepared, self._environments, self._logs = prepared, environments, logs
        self._placed = False
        self._members: list[_Member] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._killed = False

    def call(
        self,
        function: Function,
        *arguments: Any,
        answer: Callable[[Any], Any] | None = None,
        last: Callable[[Any], bool] = lambda _value: False,
    ) -> list[Any]:
        """Returns what a function returned in each process, by rank.

        Args:
            function: of a module, called in each with its `Here` and the arguments.
            arguments: what follows.
            answer: answers what the first process asks meanwhile.
            last: whether a value ends the group at once, the others wherever they are; it is then the only one.

        Raises:
            LostError: a process was killed.
            AutopeftError: a process met it.
            RuntimeError: a process met a defect; its traceback is the cause.
        """
        try:
            if not self._members:
                self.start()
            if not self._placed:
                self._place()
            if self._killed:  # by another thread, which may not have seen all that were starting
                raise LostError("its search was ended")
            for member in self._members:
                member.send(Call(function=function, arguments=arguments))
            values = self._values(answer, last)
        except BaseException:
            self.close()
            raise
        return values

    def kill(self) -> None:
        """Ends the group for good; whoever waits for its answer, in another thread, meets a `LostError`."""
        self._killed = True
        for member in self._members:
            member.process.kill()

    def close(self) -> None:
        """Ends all processes; none is left when this returns."""
        for member in self._members:
            member.process.kill()
        for member in self._members:
            member.process.communicate()
        self._members, self._placed = [], False
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def start(self, ahead: Sequence[str] = ()) -> None:
        """Starts the processes; they load modules ahead of the first question."""
        self._folder = tempfile.TemporaryDirectory(prefix="autopeft-")
        for rank, environment in enumerate(self._environments):
            log = Path(self._folder.name) / f"{rank}.log"
            with log.open("wb") as stream:
                process = subprocess.Popen(
                    [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for the process that the user sees: it stops the others
                )  # fmt: skip
            self._members.append(_Member(process=process, logs=[log]))
        for member in self._members:
            member.send((sys.path, ahead))

    def _place(self) -> None:
        if self.prepared is None or self._folder is None:
            raise RuntimeError("A group is asked before it was told of its search.")
        meeting = Path(self._folder.name) / "meeting"
        for rank, member in enumerate(self._members):
            log = self._logs[rank] if self._logs else None
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                member.logs.append(log)
            member.send(Place(prepared=self.prepared, rank=rank, meeting=meeting, log=log))
        self._placed = True

    def _values(self, answer: Callable[[Any], Any] | None, last: Callable[[Any], bool]) -> list[Any]:
        values: dict[int, Any] = {}
        while len(values) < len(self._members):
            pipes: dict[Any, int] = {m.process.stdout: r for r, m in enumerate(self._members) if r not in values}
            for pipe in wait(list(pipes)):
                rank = pipes[pipe]
                said = self._members[rank].hear()
                if isinstance(said, Asked) and answer is not None:
                    self._members[rank].send(Answer(value=answer(said.value)))
                elif isinstance(said, Done):
                    values[rank] = said.value
                    if last(said.value):
                        self.close()
                        return [said.value]
                else:
                    raise self._end_of(rank, said)
        return [values[rank] for rank in sorted(values)]

    def _end_of(self, rank: int, said: Any) -> Exception:
        """Returns why a process ended: its own error, unless another one was killed and took it along."""
        if not isinstance(said, Failed):
            return _lost(self._members[rank])
        for member in (*self._members[:rank], *self._members[rank + 1 :]):
            with suppress(subprocess.TimeoutExpired):
                if member.process.wait(timeout=GRACE_SECONDS) < 0:
                    return _lost(member)
        return met(said.name, said.message, said.traceback)


def _lost(member: _Member) -> LostError:
    words = "".join(log.read_text(errors="replace") for log in member.logs if log.exists())
    return LostError(cause_of_death(member.process.wait()), member.process.pid, words[-_LAST_WORDS:])
