"""Where a study lies, and how one process at a time holds it: a file for one machine, a database for many."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from autopeft.errors import StudyError, first_line, invalid

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import URL, Engine

BUSY_SECONDS = 60
"""How long a process waits for another one's write to a study file."""

LOCK_KEY = 0x6175746F70656674
"""Of the advisory lock that all searches in one database share: "autopeft" in ASCII."""

CONNECTION_OPTIONS = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
"""The server gives up a machine that has vanished, and the lock it held, within a minute."""


@dataclass(frozen=True, kw_only=True)
class Beats:
    """How a database learns that a worker is gone.

    Attributes:
        interval: seconds between two signs of life.
        grace: seconds of silence after which a worker counts as lost.
    """

    interval: int = 30
    grace: int = 120


@dataclass(frozen=True, kw_only=True)
class Storage:
    """An opened storage.

    Attributes:
        name: what to call it in messages; it holds no password.
        optuna: Optuna's storage.
        held: a context in which no other process changes any study there.
        beats: None where all workers are watched by the process that started them.
    """

    name: str
    optuna: "RDBStorage"
    held: Callable[[], AbstractContextManager[Any]]
    beats: Beats | None = None

    @property
    def shared(self) -> bool:
        """Whether several machines can reach it."""
        return self.beats is not None


def open_storage(where: Path | str, beats: Beats | None = None) -> Storage:
    """Returns a storage, its tables made where it is new.

    Args:
        where: a SQLite file, or the URL of a PostgreSQL database.
        beats: of a database's workers.

    Raises:
        StudyError: it cannot be opened, or its driver is not installed.
        InvalidValueError: the URL is not of a PostgreSQL database.
    """
    return _open_file(where) if isinstance(where, Path) else _open_database(where, beats or Beats())


def _open_file(path: Path) -> Storage:
    from filelock import FileLock
    from optuna.storages import RDBStorage

    lock = FileLock(path.with_name(f".{path.stem}.lock"))
    # Two processes that open a new file at once must not both make its tables.
    with _opening(str(path)), lock:
        storage = RDBStorage(_file_url(path), engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})
    return Storage(name=str(path), optuna=storage, held=lambda: lock)


def read_storage(path: Path) -> "RDBStorage":
    """Returns a study's file for reading alone: it is not locked, no table is made, and its folder may be read-only.

    Raises:
        StudyError: it cannot be opened, or is no study.
    """
    import sqlite3

    from optuna.storages import RDBStorage

    # What a killed process left half written is taken back by whoever opens the file next, where it can be.
    mode = "rw" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "ro"
    name = f"file:{quote(str(path.absolute()))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(name, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

    with _opening(str(path)):
        return RDBStorage(_file_url(path), engine_kwargs={"creator": connect}, skip_table_creation=True)


def _file_url(path: Path) -> str:
    # Names of folders may hold braces, which Optuna would take for a template.
    return f"sqlite:///{path}".replace("{", "{{").replace("}", "}}")


def _open_database(text: str, beats: Beats) -> Storage:
    import warnings

    import sqlalchemy
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import RDBStorage

    url = database_url(text)
    options = {"connect_args": {"options": CONNECTION_OPTIONS}, "pool_pre_ping": True}
    with _opening(public_name(text)), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **options)
        # Several machines may begin at once, and tables are made only once.
        with _advisory(engine):
            storage = RDBStorage(
                url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}"),
                engine_kwargs=options,
                heartbeat_interval=beats.interval,
                grace_period=beats.grace,
            )
    return Storage(name=public_name(text), optuna=storage, held=lambda: _advisory(engine), beats=beats)


@contextmanager
def _advisory(engine: "Engine") -> Iterator[None]:
    """Holds the database's lock; it falls with the connection, however that ends."""
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        yield


def database_url(text: str) -> "URL":
    """Returns the URL of a PostgreSQL database with its driver.

    Raises:
        InvalidValueError: it is no such URL; what was given is not repeated, since it may hold a password.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise _wrong_url("text that is no URL") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise _wrong_url(f"{url.get_backend_name()}://…")
    return url.set(drivername="postgresql+psycopg")


def _wrong_url(got: str) -> Exception:
    return invalid(
        "--storage", "a search", "the URL of a PostgreSQL database, such as postgresql://user@host/database", got,
        "Without --storage the study is a file in the output folder.",
    )  # fmt: skip


def public_name(text: str) -> str:
    """Returns a database's URL without its password and without its query, which can hold one."""
    url = database_url(text)
    user = f"{url.username}@" if url.username else ""
    port = f":{url.port}" if url.port else ""
    return f"postgresql://{user}{url.host or ''}{port}/{url.database or ''}"


@contextmanager
def _opening(name: str) -> Iterator[None]:
    """Turns what can be wrong with a file or a database into one sentence."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except ImportError as error:
        raise StudyError("A study in PostgreSQL needs psycopg: pip install 'autopeft[postgresql]'.") from error
    except (StorageInternalError, SQLAlchemyError) as error:
        raise StudyError(f"{name} cannot be opened as a study: {first_line(error)}") from error
