"""Where the data folders lie: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def search_spaces() -> Path:
    """Returns the folder with one ``<method>.yaml`` per method: the ranges searched by default."""
    return _folder("search_spaces")


def profiles() -> Path:
    """Returns the folder with ``hardware/``, ``tasks/`` and ``evidence/``."""
    return _folder("profiles")
