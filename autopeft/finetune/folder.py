"""The output folder of a full training: one run for good, files put there whole and only when all are ready."""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autopeft.errors import FileFormatError, StudyError
from autopeft.files import parse, plain, read_json, to_json, write_text
from autopeft.finetune.outcomes import SCHEMA_VERSION as OUTCOME_VERSION
from autopeft.finetune.outcomes import Trained
from autopeft.tuned import TunedConfig

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes a training this one: a resumed one must have the same.

    Attributes:
        config: SHA-256 of the tuned config's content.
        rows: SHA-256 of the rows of all splits.
    """

    schema_version: int
    config: str
    rows: str
    epochs: float


def sha256(content: object) -> str:
    """Returns the SHA-256 of plain content."""
    return hashlib.sha256(json.dumps(plain(content), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@contextmanager
def disk_guard(path: Path) -> Iterator[None]:
    """Turns a full disk, and nothing else, into one clear error; what was written whole stays.

    Raises:
        StudyError: the disk that holds the path is full.
    """
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _full(path) from error
    except SafetensorError as error:
        # It has no number: its text is the only mark that it has.
        if "os error 28" not in str(error):
            raise
        raise _full(path) from error


def _full(path: Path) -> StudyError:
    return StudyError(f"The disk that holds {path} is full.\nWhat is done is kept: make room and --resume.")


class TrainedFolder:
    """Paths and files of one full training; ``metrics.json`` comes last and marks it as finished."""

    def __init__(self, path: Path) -> None:
        """Names the folder; nothing is made yet."""
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.tuned = path / "tuned.yaml"
        self.metrics = path / "metrics.json"
        self._identity = path / "run.json"
        self._staging = path / ".unfinished"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other trainings out while the context lasts; the lock dies with the process.

        Raises:
            StudyError: another training runs here, or the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout as error:
            raise StudyError(f"Another training runs in {self.path}. Wait for it, or use another --output.") from error
        except OSError as error:
            raise StudyError(f"The output folder {self.path} cannot be written: {error.strerror}.") from error
        try:
            yield
        finally:
            lock.release()
            if {entry.name for entry in self.path.iterdir()} <= {".lock"}:
                (self.path / ".lock").unlink(missing_ok=True)
                if made:
                    self.path.rmdir()

    def check_may_start(self, *, resume: bool) -> None:
        """Lets a training begin in an empty folder, or go on in its own.

        Raises:
            StudyError: the folder holds anything else.
        """
        others = [entry for entry in self.path.iterdir() if entry.name != ".lock"] if self.path.exists() else []
        if self.metrics.exists():
            raise StudyError(f"{self.path} holds a finished training. Use another --output.")
        if not others:
            return
        if not self._identity.exists():
            raise StudyError(f"{self.path} is not empty and holds no training. Use another --output.")
        if not resume:
            raise StudyError(f"{self.path} holds a training already. Add --resume to go on, or use another --output.")

    def begin(self, tuned: TunedConfig, identity: Identity) -> None:
        """Notes what is trained here, or makes sure that it is what was begun here.

        Raises:
            StudyError: the folder holds another training.
        """
        if self._identity.exists():
            held = parse(Identity, read_json(self._identity), str(self._identity))
            differing = [key for key, value in vars(identity).items() if getattr(held, key) != value]
            if differing:
                raise StudyError(
                    f"{self.path} holds another training: {', '.join(differing)} differ.\n"
                    "Use another --output, or the same config, data and --epochs."
                )
        else:
            write_text(self._identity, to_json(plain(identity)))
        if not self.tuned.exists():  # on a full disk the first may be all there is, and by it the run goes on
            tuned.save(self.tuned)

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """Lends an empty folder whose files move into this one when the context ends without an error."""
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir(parents=True)
        try:
            yield self._staging
        except BaseException:
            shutil.rmtree(self._staging, ignore_errors=True)
            raise
        for entry in sorted(self._staging.iterdir()):
            target = self.path / entry.name
            if target.is_dir():  # left by a run that was killed while it moved them
                shutil.rmtree(target)
            entry.replace(target)
        self._staging.rmdir()

    def finish(self, trained: Trained) -> None:
        """Writes ``metrics.json`` and removes the checkpoints, which nothing needs any longer."""
        write_text(self.metrics, to_json(plain(trained)))
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def finished(self) -> Trained:
        """Returns the outcome of the training in the folder.

        Raises:
            StudyError: there is none, or it has not ended.
            FileFormatError: it is of another schema version, or damaged.
        """
        if not self.metrics.exists():
            what = "a training that has not ended; go on with --resume" if self._identity.exists() else "no training"
            raise StudyError(f"{self.path} must be the output of `autopeft train`; it holds {what}.")
        content = read_json(self.metrics)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != OUTCOME_VERSION:
            raise FileFormatError(
                f"`schema_version` of {self.metrics} must be {OUTCOME_VERSION}; got {version!r}.\n"
                "A newer version needs a newer autopeft."
            )
        return parse(Trained, content, str(self.metrics))
