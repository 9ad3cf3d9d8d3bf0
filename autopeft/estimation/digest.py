"""Names the code that makes recordings and estimates: what was kept of another's says nothing of this one's."""

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

from autopeft import resources

_TRACED = ("methods", "optimizers", "quantization", "tasks")
"""The folders whose code runs under the trace."""


@cache
def code_digest() -> str:
    """Returns a digest of what turns a recording into an estimate: this folder and the efficiencies it reads."""
    return _digest((*sorted(Path(__file__).parent.rglob("*.py")), resources.profiles() / "efficiency.yaml"))


@cache
def tracing_digest() -> str:
    """Returns a digest of what decides a recording: how a setup is traced, and the code that is."""
    here = Path(__file__).parent
    folders = (here, *(here.parent / name for name in _TRACED))
    return _digest(file for folder in folders for file in sorted(folder.rglob("*.py")))


def _digest(files: Iterable[Path]) -> str:
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
