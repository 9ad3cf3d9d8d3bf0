"""The output folder of a search: one search at a time, one study for good, files written whole."""

import csv
import errno
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from autopeft.errors import StudyError
from autopeft.files import parse, plain, read_json, to_json, write_text
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.ranking import counted
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import SearchResult, TrialOutcome

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What makes a search this search: a resumed one must have the same.

    Attributes:
        identity: model, data, metric, methods, folds and seed, as plain values.
        size: of a full trial.
        tokens_per_second: measured on this machine before the first trial.
        starts: the candidates that it began with.
        spaces: a hash of what is searched for each method.
        process_peaks: whether peaks are those of a whole process, its interpreter and libraries with it, as on a CPU.
    """

    schema_version: int
    identity: dict[str, Any]
    size: TrialSize
    tokens_per_second: float
    starts: tuple[Candidate, ...] = ()
    spaces: Mapping[str, str] = field(default_factory=dict)
    process_peaks: bool = False


class OutputFolder:
    """Paths and files of one search."""

    def __init__(self, path: Path) -> None:
        """Names the folder; nothing is made yet."""
        self.path = path
        self.study = path / "study.db"
        self.tuned = path / "tuned.yaml"
        self.trials = path / "trials.csv"
        self.result = path / "result.json"
        self.states = path / "states"
        self.workers = path / "workers"
        self.encoded = path / "encoded"
        self._settings = path / "search.json"

    def baseline(self, name: str) -> Path:
        """Returns the path of a baseline as a config for full training, beside the winner's."""
        return self.path / f"{name}.yaml"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other searches out while the context lasts; the lock dies with the process.

        A search that is refused before it writes anything leaves no folder behind.

        Raises:
            StudyError: another search is running here, or the folder cannot be made or written.
        """
        from filelock import FileLock, Timeout

        made = self._make()
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise StudyError(
                f"Another search is running in {self.path}. Wait for it, or use another --output."
            ) from error
        try:
            yield
        finally:
            self._tidy(made=made)
            lock.release()

    def _make(self) -> bool:
        """Returns whether the folder had to be made."""
        made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / ".lock").touch()
        except OSError as error:
            raise StudyError(
                f"The output folder {self.path} cannot be written: {error.strerror}.\nUse another --output."
            ) from error
        return made

    def _tidy(self, *, made: bool) -> None:
        """Removes the lock's file, and the folder that was made for it, where they hold nothing else."""
        if [path.name for path in self.path.iterdir()] != [".lock"]:
            return
        (self.path / ".lock").unlink()
        if made:
            self.path.rmdir()

    def keep_states(self, numbers: Collection[int]) -> None:
        """Removes the state of all stopped trials but these."""
        keep_states(self.states, numbers)

    def settings(self) -> Settings | None:
        """Returns the settings of the study in the folder, None where there is none."""
        if not self._settings.exists():
            return None
        return parse(Settings, read_json(self._settings), str(self._settings))

    def begin(self, settings: Settings) -> None:
        """Writes the settings of a new study."""
        write_text(self._settings, to_json(plain(settings)))

    def check_may_start(self, identity: dict[str, Any], *, resume: bool) -> Settings | None:
        """Returns the settings to resume from, None for a new search.

        Raises:
            StudyError: a study is there and was not to be resumed, or it is another search's.
        """
        held = self.settings()
        if held is None:
            if self.study.exists():
                raise StudyError(f"{self.path} holds a study without search.json. Use another --output.")
            return None
        check_same(held, identity, str(self.path), "--output")
        if not resume:
            raise StudyError(f"{self.path} holds this study already. Add --resume to go on, or use another --output.")
        return held

    def place(self) -> str:
        """Returns this folder's name among the folders of one search, here and elsewhere, made where it has none."""
        path = self.path / ".place"
        if not path.exists():
            write_text(path, uuid4().hex)
        return path.read_text(encoding="utf-8")

    def write_trials(self, outcomes: Sequence[TrialOutcome]) -> None:
        """Writes ``trials.csv``: one row per trial."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, fieldnames=list(_COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(_row(outcome) for outcome in outcomes)
        write_text(self.trials, stream.getvalue())

    def write_result(self, result: SearchResult) -> None:
        """Writes ``result.json``: what ``--json`` prints."""
        write_text(self.result, to_json(plain(result)))

    def finished(self, outcomes: Sequence[TrialOutcome] | None) -> SearchResult | None:
        """Returns the result of a search that has ended, None where it has not.

        Nor has one of which a trial has ended, or gone on to another end, since its result was written.

        Args:
            outcomes: of the study as it is now; None where there is no study to ask.
        """
        if not self.result.exists():
            return None
        result = parse(SearchResult, read_json(self.result), str(self.result))
        went_on = outcomes is not None and dict(result.trials) != counted(outcomes)
        return None if went_on else result


def keep_states(folder: Path, numbers: Collection[int]) -> None:
    """Removes the state of all stopped trials but these."""
    for path in folder.glob("*"):
        if path.stem not in {str(number) for number in numbers}:
            path.unlink()


_COLUMNS = (
    "number", "status", "method", "parameters", "targets", "layers", "quantization", "optimizer", "schedule",
    "learning_rate", "batch_size", "accumulation", "trainable_parameters", "tokens", "seconds", "overhead_seconds",
    "peak_bytes", "estimated_bytes", "validation_loss", "score", "score_error", "forgetting", "latency",
    "adapter_bytes", "continues", "reason",
)  # fmt: skip


def _row(outcome: TrialOutcome) -> dict[str, Any]:
    candidate = outcome.candidate
    parameters = " ".join(f"{key}={value}" for key, value in candidate.parameters.items())
    loss = outcome.curve[-1].validation_loss if outcome.curve else None
    values = {
        **plain(candidate),
        **plain(outcome),
        "parameters": parameters,
        "validation_loss": loss,
        "forgetting": outcome.forgetting and outcome.forgetting.change,
        "latency": outcome.latency and outcome.latency.row_milliseconds,
    }
    return {key: values[key] for key in _COLUMNS}


def check_same(held: Settings, identity: dict[str, Any], owner: str, option: str) -> None:
    """Refuses to go on with another search's study.

    Args:
        held: the settings of the study.
        identity: of the search that is to go on with it.
        owner: what to call the study in the error.
        option: the option that names another one.

    Raises:
        StudyError: they differ.
    """
    keys = {*identity, *held.identity}
    differing = sorted(key for key in keys if held.identity.get(key) != identity.get(key))
    if differing:
        raise StudyError(
            f"{owner} holds another study: {', '.join(differing)} differ.\nUse another {option}, or the same settings."
        )


def check_spaces(held: Settings, searched: Mapping[str, str], owner: str, option: str) -> None:
    """Refuses to draw from other search spaces than a study has drawn from.

    Args:
        held: the settings of the study.
        searched: a hash of what would be searched now for each method.
        owner: what to call the study in the error.
        option: the option that names another one.

    Raises:
        StudyError: they differ.
    """
    differing = sorted(name for name, known in held.spaces.items() if searched.get(name) != known)
    if differing:
        raise StudyError(
            f"{owner} holds another study: the search spaces of {', '.join(differing)} differ.\n"
            f"Use another {option}, or the same --search-spaces."
        )


@contextmanager
def storage_errors(path: Path | str) -> Iterator[None]:
    """Turns a full disk or a failing study file into one clear error; what was stored stays."""
    from optuna.exceptions import StorageInternalError
    from safetensors import SafetensorError
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StudyError(_FULL.format(path)) from error
    except SafetensorError as error:
        if f"os error {errno.ENOSPC}" not in str(error):
            raise
        raise StudyError(_FULL.format(path)) from error
    except (StorageInternalError, OperationalError) as error:
        if _is_full(error):
            raise StudyError(_FULL.format(path)) from error
        raise StudyError(f"The study in {path} cannot be written: {error}. What is done is kept: --resume.") from error


_FULL = "The disk that holds {} is full. What is done is kept: make room and --resume."


def _is_full(error: BaseException | None) -> bool:
    """Returns whether SQLite found no room, which Optuna and SQLAlchemy wrap in errors of their own."""
    while error is not None:
        driver = getattr(error, "orig", None)
        if getattr(driver, "sqlite_errorname", "") == "SQLITE_FULL":
            return True
        error = error.__cause__
    return False
