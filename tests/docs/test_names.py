"""What a search leaves, and what decides from outside, has a line on the page about it."""

import inspect
import re
from pathlib import Path

import autopeft
from autopeft.tuning.folder import OutputFolder
from autopeft.values.names import STATUSES
from tests.docs.blocks import ROOT

PAGE = (ROOT / "docs" / "concepts" / "files.md").read_text()
SHOWN = set(re.findall(r"`([^`]+)`", PAGE))


def test_every_file_of_a_search_is_described(tmp_path):
    """Whatever the folder has a path for, under its name; folders with a slash."""
    paths = {path.name for path in vars(OutputFolder(tmp_path)).values() if isinstance(path, Path)} - {tmp_path.name}
    assert len(paths) >= 8
    assert paths <= {name.rstrip("/") for name in SHOWN}


def test_every_column_and_status_is_described(tmp_path):
    """Those that the file has, and no others."""
    folder = OutputFolder(tmp_path)
    folder.write_trials(())
    table = PAGE[PAGE.index("| column |") : PAGE.index("| status |")]
    first = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert re.findall(r"`(\w+)`", first) == folder.trials.read_text().strip().split(",")
    assert set(STATUSES) <= SHOWN


def test_every_variable_is_described():
    """Those that the package reads."""
    code = "\n".join(path.read_text() for path in Path(inspect.getfile(autopeft)).parent.rglob("*.py"))
    read = set(re.findall(r'"(AUTOPEFT_[A-Z_]+|LLAMA_CPP)"', code))
    assert len(read) >= 6
    assert read <= {name.partition("=")[0] for name in SHOWN}
