"""Rows as tokens, each encoded once: shared by the folds of a search, and kept on disk for its next run."""

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import autopeft
from autopeft.files import plain, write_bytes
from autopeft.tasks import Encoded, Row
from autopeft.values.data import DataSpec
from autopeft.values.names import ModelKind

_MADE = "2"
"""How task types make tokens of rows: raised with every change, so that rows kept by an earlier way are not read."""

Cut = tuple[Encoded, bool]
"""A row as tokens, and whether it was cut at the token limit."""


class RowCache:
    """Encoded rows by their content; those of one task, token limit and tokenizer."""

    def __init__(self, path: Path | None = None) -> None:
        """Reads what is kept.

        Args:
            path: an Arrow file; None for a cache that lasts as long as this object.
        """
        self._path = path
        self._rows = _read(path) if path is not None and path.is_file() else {}
        self._kept = len(self._rows)

    def of(self, row: Row, encode: Callable[[Row], Cut]) -> Cut:
        """Returns a row as tokens, encoded here where it has not been before; what is returned is shared."""
        key = hashlib.sha256(json.dumps(plain(row), sort_keys=True).encode()).hexdigest()
        if key not in self._rows:
            self._rows[key] = encode(row)
        return self._rows[key]

    def save(self) -> None:
        """Writes what has come since the file was read, whole or not at all."""
        if self._path is None or len(self._rows) == self._kept:
            return
        import pyarrow as pa

        held = [{"key": key, "row": row, "cut": cut} for key, (row, cut) in self._rows.items()]
        table, sink = pa.Table.from_pylist(held), pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        write_bytes(self._path, sink.getvalue().to_pybytes())
        self._kept = len(self._rows)


def _read(path: Path) -> dict[str, Cut]:
    import pyarrow as pa

    try:
        with pa.OSFile(str(path)) as file:
            held = pa.ipc.open_file(file).read_all().to_pylist()
    except pa.ArrowInvalid:  # cut short or not of this kind: it is made anew and written over
        return {}
    return {item["key"]: (item["row"], item["cut"]) for item in held}


def _rules(backend: Any) -> str:
    """Returns a tokenizer's rules; how its last call cut and padded is kept with them, but is none."""
    rules = json.loads(backend.to_str())
    return json.dumps({key: value for key, value in rules.items() if key not in ("truncation", "padding")})


def row_cache(folder: Path, spec: DataSpec, tokenizer: Any, kind: ModelKind, limit: int) -> RowCache:
    """Returns the cache in a folder for rows that are encoded this way by these versions.

    A tokenizer that is not one of the fast ones cannot be told from another by its content: its rows are not kept.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return RowCache()
    words = (
        spec.task, *spec.labels, kind, str(limit), str(tokenizer.pad_token_id), str(tokenizer.eos_token_id),
        str(tokenizer.chat_template), _rules(backend), version("transformers"), autopeft.__version__, _MADE,
    )  # fmt: skip
    return RowCache(folder / f"{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]}.arrow")
