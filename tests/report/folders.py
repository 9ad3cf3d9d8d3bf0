"""Search folders made without training: real studies with outcomes that were made up."""

from pathlib import Path
from typing import Any

from autopeft.files import plain, to_json, write_text
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.kept import kept_study
from autopeft.tuning.proposal import proposal
from autopeft.tuning.ranking import counted
from autopeft.tuning.study import TrialStudy
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Contender, Difference, Measurement, Score, SearchResult, TrialOutcome

STARTS = (
    Candidate(method="ia3", learning_rate=5e-3, batch_size=16),
    Candidate(method="bitfit", targets="none", learning_rate=1e-3, batch_size=16),
)
SIZE = TrialSize(tokens=9000, pruning_rows=20, scoring_rows=60, readings=(0.25, 0.5, 1.0))


def begin(folder: Path, metric: str = "accuracy", task: str = "classification") -> TrialStudy:
    """A search that has begun: its settings and an empty study."""
    identity: dict[str, Any] = {"task": task, "metric": metric}
    folder.mkdir(parents=True, exist_ok=True)
    OutputFolder(folder).begin(Settings(schema_version=1, identity=identity, size=SIZE, tokens_per_second=900.0))
    study = TrialStudy(folder / "study.db", proposal(STARTS, depth=4), seed=0)
    study.enqueue(STARTS)
    return study


def curve(loss: float, readings: int = 3) -> tuple[Measurement, ...]:
    """Readings that fall to a loss."""
    return tuple(
        Measurement(tokens=int(9000 * share), seconds=20 * share, train_loss=loss / share, validation_loss=loss / share)
        for share in SIZE.readings[:readings]
    )


def complete(study: TrialStudy, score: float, **facts: Any) -> TrialOutcome:
    """A trial that came to its end with a score, higher better."""
    trial, candidate = study.ask()
    metrics = {"accuracy": score, "perplexity": -score}
    known = {"peak_bytes": 2**30, "trainable_parameters": 5000, "tokens": 9000, "seconds": 22.0, **facts}
    outcome = TrialOutcome(
        number=trial.number, status="completed", candidate=candidate, score=score, metrics=metrics,
        curve=curve(1.0 - score / 2), **known,
    )  # fmt: skip
    study.tell(trial, outcome)
    return outcome


def stop(study: TrialStudy, loss: float) -> TrialOutcome:
    """A trial that was stopped at its first reading."""
    trial, candidate = study.ask()
    outcome = TrialOutcome(
        number=trial.number, status="pruned", candidate=candidate, curve=curve(loss, 1), tokens=2250, seconds=6.0,
        reason="behind other trials at the same tokens",
    )  # fmt: skip
    study.tell(trial, outcome)
    return outcome


def fail(study: TrialStudy, status: Any, reason: str) -> TrialOutcome:
    """A trial of which nothing was read."""
    trial, candidate = study.ask()
    outcome = TrialOutcome(number=trial.number, status=status, candidate=candidate, reason=reason)
    study.tell(trial, outcome)
    return outcome


def score(value: float, metric: str = "accuracy") -> Score:
    return Score(metric=metric, value=value, low=value - 0.02, high=value + 0.02, level=0.95, rows=400)


def finish(
    folder: Path, winner: Candidate, gaps: dict[str, Difference], notes: tuple[str, ...] = (), **facts: Any
) -> None:
    """The result of a search that came to its comparison with the trials that it holds now."""

    def contender(test: float) -> Contender:
        return Contender(config=winner, validation=score(test), test=score(test), tokens=9000, seconds=20.0)

    study = kept_study(folder / "study.db")
    ended = study.outcomes() if study else ()
    result = SearchResult(
        winner=contender(0.9), default_lora=contender(0.8), raced_lora=contender(0.85), difference=gaps,
        references={"untuned": score(0.5), "tfidf_logistic_regression": score(0.7)}, trials=counted(ended),
        seconds=60.0, comparison_seconds=50.0, overhead_seconds=2.0, output=str(folder), notes=notes,
        **facts,
    )  # fmt: skip
    write_text(folder / "result.json", to_json(plain(result)))


def gap(value: float, half: float) -> Difference:
    return Difference(value=value, low=value - half, high=value + half, level=0.95, distinguishable=abs(value) > half)
