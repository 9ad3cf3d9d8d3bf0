"""Where a config's data lies, and how it is written, as other tools are told."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from autopeft.data import hub_parts
from autopeft.export._facts import Facts

LOADERS = {
    ".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet",
    ".txt": "text",
}  # fmt: skip

OPENAI, SHAREGPT = ("role", "content"), ("from", "value")
"""The keys of a turn's speaker and of what is said, in the two forms that tools know chats in."""

SPEAKERS = frozenset({"assistant", "system", "tool", "user"})
HUMANS = frozenset({"gpt", "human", "system"})
"""Who speaks in either form."""


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
    name, subset = hub_parts(source) or (source, None)
    if subset and not Path(source).expanduser().exists():
        return Place(path=name, subset=subset)
    # What a leading ~ stands for is known to shells alone; whatever else is written as a path stays one.
    path = str(Path(source).expanduser()) if source.startswith("~") else source
    return Place(path=path, loader=LOADERS.get(facts.data_suffix, ""))


def subset_left(facts: Facts) -> list[str]:
    """Returns a sentence where a tool has no place for a subset of the hub's data."""
    subset = place(facts).subset
    return [f"The data's subset {subset!r} is not expressed."] if subset else []


def suffix_left(facts: Facts, *known: str) -> list[str]:
    """Returns a sentence where a tool that tells a file's format from its name does not read such files."""
    suffix = Path(facts.tuned.data.source).suffix.lower()
    if suffix not in LOADERS or suffix in known:
        return []
    return [f"The tool reads {', '.join(known)} files, and no {suffix}: write the data as one of them."]


def chats_left(facts: Facts, takes: Mapping[tuple[str, str], Collection[str]]) -> list[str]:
    """Returns a sentence where a tool may not read the chats as they are written.

    Args:
        facts: of the config.
        takes: the keys of a turn that the file has the tool read, with the speakers that it knows under them.
    """
    form, wanted = facts.chat, "`role` and `content`, by 'user' and 'assistant'"
    if "messages" not in facts.tuned.data.columns:
        return []
    if form is None:
        return [f"How the data's chats are written could not be seen here: their turns must have {wanted}."]
    spoken = set(form.speakers.values())
    if spoken <= set(takes.get(form.keys, ())):
        return []
    by = ", ".join(repr(name) for name in sorted(spoken))
    return [
        f"The chats' turns have `{form.role}` and `{form.content}`, by {by}, which the tool does not read: write them "
        f"with {wanted}."
    ]


def is_sharegpt(facts: Facts) -> bool:
    """Whether the chats are seen to have the older of the two forms."""
    return facts.chat is not None and facts.chat.keys == SHAREGPT


def renamed(facts: Facts, *named: str) -> list[str]:
    """Returns a sentence for each column that a tool knows by its role alone; one that joins the prompt is apart.

    Args:
        facts: of the config.
        named: roles whose column the file names.
    """
    return [
        f"The column {column!r} is read as {role!r}: rename it in the data."
        for role, column in facts.tuned.data.columns.items()
        if role not in (column, "input", *named)
    ]
