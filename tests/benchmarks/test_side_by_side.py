"""Work that runs side by side comes back as it is made, and ends with whoever asked for it."""

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks._side_by_side import side_by_side

UNITS = [(6, 3), (8, 2), (1, 1)]

KILLED = """
import time
from benchmarks._side_by_side import side_by_side
if __name__ == "__main__":
    for _ in side_by_side(time.sleep, [(0,), (60,), (60,)], 2):
        print("begun", flush=True)
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_everything_is_made_once(jobs):
    """Whatever the number of processes."""
    assert sorted(side_by_side(operator.floordiv, UNITS, jobs)) == [1, 2, 4]


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_ends_it(jobs):
    """It is raised as it was met."""
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(operator.floordiv, [*UNITS, (1, 0)], jobs))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    """A benchmark that is killed leaves nobody behind who would slow the next one down."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    owner = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."})
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"begun\n"
    workers = _children(owner.pid)
    assert workers
    owner.send_signal(signal.SIGKILL)
    owner.stdout.close()
    owner.wait()
    until = time.monotonic() + 20.0
    while any(map(_alive, workers)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(_alive, workers))


def _children(process: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def _alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
