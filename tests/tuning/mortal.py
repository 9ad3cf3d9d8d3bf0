"""A search with a team of processes that is killed in the middle of its first trial: see `test_teams.py`.

python -m tests.tuning.mortal REQUEST.pickle FOLDER TRIALS
"""

import os
import pickle
import signal
import sys
import threading
from pathlib import Path

import psutil

from autopeft.tuning.limits import Limits
from autopeft.tuning.observer import Silent
from autopeft.tuning.session import run_search

TRAINING = 0.2
"""Seconds into a trial: its processes are at work."""


class Mortal(Silent):
    """Tells the team's processes, and has this one killed."""

    def trial_started(self, number, candidate):
        print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
        threading.Timer(TRAINING, os.kill, (os.getpid(), signal.SIGKILL)).start()


def main() -> None:
    request = pickle.loads(Path(sys.argv[1]).read_bytes())
    run_search(request, Path(sys.argv[2]), Limits(trials=int(sys.argv[3])), resume=False, observer=Mortal())


if __name__ == "__main__":
    main()
