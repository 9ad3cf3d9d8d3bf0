"""Reads whatever the user named as data: a file, a folder, a saved data set or a hub name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopeft.data._tables import READERS, RawRow, read_table
from autopeft.errors import DataError

SPLIT_NAMES: dict[str, str] = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "eval": "validation", "test": "test", "testing": "test",
}  # fmt: skip
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)([#:](?P<subset>[\w.-]+))?")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Rows as they were found.

    Attributes:
        splits: rows by ``train``, ``validation`` and ``test``; an undivided source is all ``train``.
        label_names: names of the class ids of a column, where the source knows them.
        ignored: splits of other names, which are left out.
    """

    splits: Mapping[str, list[RawRow]]
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def read_rows(source: str) -> Source:
    """Returns the rows of a local CSV, TSV, JSON, JSONL, Parquet or text file, of a folder, or of a hub name.

    A folder is one that the datasets library saved, or holds files named like splits, or one file. A hub name may
    end in ``#subset`` or ``:subset``.

    Raises:
        DataError: it does not exist, cannot be read, or holds no rows.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        found = _read_folder(path)
    elif path.is_file():
        found = _by_split(read_table(path), str(path))
    elif (named := hub_parts(source)) is not None:
        found = _read_hub(source, *named)
    else:
        raise DataError(f"The data file {source!r} does not exist.\nGive a file, a folder or a hub name.")
    if not any(found.splits.values()):
        raise DataError(f"{source} holds no rows.")
    return found


def hub_parts(source: str) -> tuple[str, str | None] | None:
    """Returns the name and the subset that a source has on the hub; None where it is written as a path.

    It is so be there anything or not: a file that is missing is never looked for on the hub.
    """
    parts = _HUB_NAME.fullmatch(source)
    if parts is None or Path(source).suffix.lower() in READERS or source.startswith(("/", ".", "~")):
        return None
    return parts["name"], parts["subset"]


def _by_split(content: Any, owner: str, label_names: Mapping[str, tuple[str, ...]] | None = None) -> Source:
    """Returns a source from a list of rows or from lists by split name; one list of another name is undivided."""
    if isinstance(content, list):
        content = {"train": content}
    known = {name: SPLIT_NAMES[name.lower()] for name in content if name.lower() in SPLIT_NAMES}
    if not known and len(content) == 1:
        known = dict.fromkeys(content, "train")
    if "train" not in known.values():
        found = ", ".join(content) or "none"
        raise DataError(f"{owner} has no train split; found: {found}.\nName one of its splits `train`.")
    _refuse_twice(known, owner)
    splits = {known[name]: rows for name, rows in content.items() if name in known}
    ignored = tuple(name for name in content if name not in known)
    return Source(splits=splits, label_names=label_names or {}, ignored=ignored)


def _refuse_twice(known: Mapping[str, str], owner: str) -> None:
    """Refuses two names for one split, since the rows of one of them would be lost without a word.

    Args:
        known: the split that each name stands for.
        owner: the source, for the error.
    """
    for split in dict.fromkeys(known.values()):
        names = [name for name, meant in known.items() if meant == split]
        if len(names) > 1:
            found = f"{owner} has {len(names)} {split} splits: {', '.join(names)}."
            raise DataError(f"{found}\nKeep one of them, or join their rows in it.")


def _read_folder(folder: Path) -> Source:
    if any((folder / marker).is_file() for marker in ("dataset_dict.json", "state.json")):
        return _read_saved(folder)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in READERS)
    named = [path for path in files if path.stem.lower() in SPLIT_NAMES]
    if named:
        _refuse_twice({path.name: SPLIT_NAMES[path.stem.lower()] for path in named}, str(folder))
        return _by_split({path.stem: _rows(path) for path in named}, str(folder))
    if len(files) == 1:
        return _by_split(read_table(files[0]), str(files[0]))
    message = f"{folder} holds {len(files)} data files and none is named like a split."
    raise DataError(f"{message}\nName one file, or call the files train, validation and test.")


def _rows(path: Path) -> list[RawRow]:
    rows = read_table(path)
    if not isinstance(rows, list):
        raise DataError(f"{path} must hold a list of rows, since the files beside it are the splits.")
    return rows


def _read_saved(folder: Path) -> Source:
    import datasets

    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a data set that can be read: {error}") from error
    return _from_library(saved, str(folder))


def _read_hub(source: str, name: str, subset: str | None) -> Source:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        loaded = datasets.load_dataset(name, subset)
    # Not found, no connection, offline mode, a missing subset; a script, which is run no more; files of unlike columns.
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        advice = "Give a file or folder that exists, or a hub name this machine can reach (name#subset for a subset)."
        raise DataError(f"The data {source!r} is no local file and could not be loaded: {error}\n{advice}") from error
    return _from_library(loaded, source)


def _from_library(loaded: Any, owner: str) -> Source:
    splits = dict(loaded.items()) if hasattr(loaded, "items") else {"train": loaded}
    features = next(iter(splits.values())).features
    names = {column: tuple(labels) for column, feature in features.items() if (labels := _class_names(feature))}
    return _by_split({name: split.to_list() for name, split in splits.items()}, owner, names)


def _class_names(feature: Any) -> Sequence[str]:
    names = getattr(feature, "names", None)
    if names is None:  # a list of class ids keeps the names on its inner feature
        names = getattr(getattr(feature, "feature", None), "names", None)
    return names or ()
