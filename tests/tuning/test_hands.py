"""The processes of a crew: what they measure, and what ends them."""

import pickle
import subprocess
import sys

import pytest

from autopeft.errors import DataError, StudyError
from autopeft.tuning.crew import Crew
from autopeft.tuning.group import _START, LostError
from autopeft.tuning.hands import Hands


class Group:
    """Answers with a speed, or with an error."""

    def __init__(self, speed):
        self.speed, self.killed = speed, False

    def call(self, _function):
        if isinstance(self.speed, Exception):
            raise self.speed
        return [self.speed]

    def kill(self):
        self.killed = True


def hands(*speeds):
    made = Hands(Crew(size=len(speeds), gpus=(), threads=1))
    made._groups = [Group(speed) for speed in speeds]  # type: ignore[misc]
    return made


def lost():
    return LostError("its process was killed", 7, "Killed")


def test_the_speed_is_the_mean_of_all_that_live():
    """All load the base at once, which is when the kernel is likeliest to kill one: the others' speed stands."""
    assert hands(100.0, 300.0).speed() == 200.0
    assert hands(lost(), 300.0).speed() == 300.0
    with pytest.raises(StudyError, match=r"ended while its speed was measured: its process was killed\.\nKilled"):
        hands(lost(), lost()).speed()


def test_any_other_error_ends_all():
    """What one cannot read, no other can: it is raised, and nobody is left training."""
    made = hands(100.0, DataError("There are no rows."))
    with pytest.raises(DataError, match="There are no rows"):
        made.speed()
    assert all(group.killed for group in made._groups)


def test_a_process_ends_when_its_owner_dies_in_the_middle_of_a_word():
    """The owner's terminal may be closed while it sends the search, which is larger than a pipe holds."""
    word = pickle.dumps(bytes(200_000))
    with subprocess.Popen(
        [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin
        assert process.stdout
        pickle.dump((sys.path, ()), process.stdin)
        process.stdin.write(word[: len(word) // 2])
        process.stdin.close()
        process.stdout.close()
        try:
            assert process.wait(timeout=60) is not None
        finally:
            process.kill()
