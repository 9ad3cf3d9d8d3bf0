"""Where a config's data lies, as other tools are told."""

import re
from dataclasses import dataclass
from pathlib import Path

from autopeft.data import is_path
from autopeft.export._facts import Facts

LOADERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A data source.

    Attributes:
        path: a file, a folder or a hub name.
        loader: the datasets library's builder for a file; empty otherwise.
        subset: the part of the hub's data that is meant; empty where none is named.
    """

    path: str
    loader: str = ""
    subset: str = ""


def place(facts: Facts) -> Place:
    """Returns where the data lies: a local file with its loader, a hub name with its subset, or what else it names."""
    source = facts.tuned.data.source
    on_hub = not is_path(source) and not Path(source).expanduser().exists()
    if on_hub and (parts := re.fullmatch(r"([^#:]+)[#:](.+)", source)):
        return Place(path=parts[1], subset=parts[2])
    return Place(path=source, loader=LOADERS.get(Path(source).suffix.lower(), ""))


def subset_left(facts: Facts) -> list[str]:
    """Returns a sentence where a tool has no place for a subset of the hub's data."""
    subset = place(facts).subset
    return [f"The data's subset {subset!r} is not expressed."] if subset else []


def renamed(facts: Facts) -> list[str]:
    """Returns a sentence for each column that a tool knows by its role alone; one that joins the prompt is apart."""
    return [
        f"The column {column!r} is read as {role!r}: rename it in the data."
        for role, column in facts.tuned.data.columns.items()
        if role not in (column, "input")
    ]
