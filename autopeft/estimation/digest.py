"""Names the code that makes estimates: what was kept of another's estimates says nothing of this one's."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from autopeft import resources


@cache
def code_digest() -> str:
    """Returns a digest of what turns a recording into an estimate: this folder and the efficiencies it reads."""
    files = (*sorted(Path(__file__).parent.rglob("*.py")), resources.profiles() / "efficiency.yaml")
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
