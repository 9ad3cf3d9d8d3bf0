"""Saved methods loaded by a process that has seen nothing of their training: one process for any number of them.

    python -m autopeft.testing.fresh FOLDER

loads everything that `leave` has put into the folder and prints how far its logits are from those left with it.
"""

import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from autopeft.errors import StudyError
from autopeft.files import parse, plain, read_json, to_json, write_text
from autopeft.methods import Method, get_method
from autopeft.testing._observe import attached, difference, logits, train
from autopeft.testing.cases import Case, batch, built, quantized
from autopeft.values.candidates import Setup

_SETUP, _LOGITS, _SAVED = "setup.json", "logits.safetensors", "saved"


def leave(method: Method, case: Case, folder: Path) -> None:
    """Trains a method a little and writes what it saves, its setup and its logits into a folder of the case's name."""
    from safetensors.torch import save_file

    model, own = attached(method, case), folder / case.name
    train(method, model, case)
    own.mkdir(parents=True)
    method.save(model, own / _SAVED)
    save_file({"logits": logits(model, case)}, own / _LOGITS)
    write_text(own / _SETUP, to_json(plain(case.setup)))


def differences(folder: Path) -> dict[str, float]:
    """Returns how far each left method's logits are from its own, loaded by one new process, by the case's name.

    Raises:
        StudyError: the process failed; its last words are in the message.
    """
    done = subprocess.run([sys.executable, "-m", __name__, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StudyError(f"The fresh process failed:\n{done.stderr[-2000:]}")
    found = read_json(folder / "differences.json")
    return {str(name): float(apart) for name, apart in found.items()}


def _apart(own: Path) -> float:
    from safetensors.torch import load_file

    setup = parse(Setup, read_json(own / _SETUP), str(own / _SETUP))
    scheme = setup.candidate.quantization
    case = Case(name=own.name, setup=setup, build=partial(built, setup), batch=partial(batch, setup.task))
    base = case.build() if scheme == "none" else quantized(case, scheme)
    model = get_method(setup.candidate.method).load(base, setup, own / _SAVED)
    return difference(logits(model, case), load_file(own / _LOGITS)["logits"])


def _main(folders: Iterable[str]) -> None:
    for folder in map(Path, folders):
        found = {own.name: _apart(own) for own in sorted(folder.iterdir()) if own.is_dir()}
        write_text(folder / "differences.json", to_json(found))


if __name__ == "__main__":
    _main(sys.argv[1:])
