"""Where a config's data lies, as other tools are told."""

from dataclasses import dataclass
from pathlib import Path

from autopeft.export._facts import Facts

LOADERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A data source.

    Attributes:
        path: a file, a folder or a hub name.
        loader: the datasets library's builder for a file; empty otherwise.
    """

    path: str
    loader: str


def place(facts: Facts) -> Place:
    """Returns where the data lies: a local file with its loader, or whatever the source names."""
    source = facts.tuned.data.source
    return Place(path=source, loader=LOADERS.get(Path(source).suffix.lower(), ""))


def renamed(facts: Facts) -> list[str]:
    """Returns a sentence for each column that a tool knows by its role alone; one that joins the prompt is apart."""
    return [
        f"The column {column!r} is read as {role!r}: rename it in the data."
        for role, column in facts.tuned.data.columns.items()
        if role not in (column, "input")
    ]
