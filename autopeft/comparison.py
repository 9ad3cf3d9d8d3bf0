"""Configs, searches, trainings and adapters side by side: quality with intervals, time, memory and size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from pathlib import Path
from typing import Any

from autopeft.errors import FileFormatError, ModelError, StudyError, invalid
from autopeft.estimation import draft
from autopeft.files import plain, to_json
from autopeft.finetune.folder import TrainedFolder
from autopeft.inspection.folder import read_adapter
from autopeft.profiling.hardware import probe_hardware
from autopeft.tasks import get_task
from autopeft.tuned import TunedConfig
from autopeft.tuning.folder import OutputFolder
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Difference, Forgetting, Latency, Score, SearchResult, TrialOutcome

_WEIGHTS = ("adapter_model.safetensors", "trained.safetensors")
FEWEST = 2


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that is compared; None where it does not tell.

    Attributes:
        kind: ``config``, ``search``, ``run`` or ``adapter``.
        base: the base model's fingerprint.
        seconds: of training.
        peak_bytes: highest memory of training.
        forgetting: on general text.
        latency: of a forward pass as it would be deployed.
        inference_bytes: memory of that pass; on a CPU of the whole process.
        prediction_seconds_per_row: of the whole scoring of the test split, in batches.
        adapter_bytes: what the trained values take on disk.
        trainable_parameters: numbers that were trained, that an adapter holds, or that a config would train.
        estimated_bytes: peak memory of training as estimated before it: of a config by formula, for rows as long as
            it allows, on this machine.
        estimated_tokens: of the rows of that estimate; None for a run, whose own rows were known.
        lower_is_better: whether the test score's metric is a loss.
    """

    name: str
    kind: str
    method: str
    settings: str = ""
    base: str = ""
    data: str = ""
    validation: Score | None = None
    test: Score | None = None
    seconds: float | None = None
    peak_bytes: int | None = None
    forgetting: Forgetting | None = None
    latency: Latency | None = None
    inference_bytes: int | None = None
    prediction_seconds_per_row: float | None = None
    adapter_bytes: int | None = None
    trainable_parameters: int | None = None
    estimated_bytes: int | None = None
    estimated_tokens: int | None = None
    lower_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How two entries' test scores differ.

    Attributes:
        difference: first minus second, with an interval that takes their rows as independent, unless they are
            paired; None where the two cannot be compared.
        better: the one that is better beyond chance, empty where chance explains the difference.
        because: why they cannot be compared.
        paired: whether a search compared the two row by row, which tells smaller differences from chance.
    """

    first: str
    second: str
    difference: Difference | None
    better: str = ""
    because: str = ""
    paired: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Entries in the order given, and a verdict for each two that have a test score."""

    entries: tuple[Entry, ...]
    verdicts: tuple[Verdict, ...]


def compare(paths: Sequence[str | Path]) -> Comparison:
    """Returns configs, search folders, training folders and adapters side by side.

    Raises:
        InvalidValueError: fewer than two are given, or one twice.
        FileFormatError: a path is nothing of the kind, or of another schema version.
        StudyError: a search has gone on since it compared.
    """
    if len(paths) < FEWEST or len(set(map(str, paths))) < len(paths):
        raise invalid("paths", "a comparison", "two or more different ones", ", ".join(map(str, paths)))
    read = [_read(Path(path)) for path in paths]
    entries = tuple(entry for found, _ in read for entry in found)
    scored = [entry for entry in entries if entry.test is not None]
    paired = {pair: difference for _, differences in read for pair, difference in differences.items()}
    return Comparison(entries=entries, verdicts=tuple(_verdict(a, b, paired) for a, b in combinations(scored, 2)))


Paired = Mapping[tuple[str, str], Difference]
"""Differences by the names of the first and the second entry."""


def _read(path: Path) -> tuple[list[Entry], Paired]:
    """Returns what stands at a path, and what was compared there row by row."""
    if path.is_file():
        return [_config(path)], {}
    if (path / "metrics.json").is_file():
        return [_run(path)], {}
    if (path / "result.json").is_file():
        outcomes = _outcomes(path)
        result = _result(path, outcomes)
        return _search(path, result, outcomes or ()), _paired(path, result)
    if any((path / name).is_file() for name in _WEIGHTS):
        return [_adapter(path)], {}
    what = "does not exist" if not path.exists() else "holds no result.json, metrics.json or adapter"
    raise FileFormatError(f"{path} {what}.\nGive a tuned.yaml, the folder of a search or of a training, or an adapter.")


def _about(tuned: TunedConfig) -> dict[str, Any]:
    return {"base": tuned.model.fingerprint, "data": Path(tuned.data.source).name}


def _lower(tuned: TunedConfig, score: Score | None) -> bool:
    return score is not None and score.metric in get_task(tuned.model.task).lower_is_better


def _chosen(candidate: Candidate) -> dict[str, Any]:
    parts = [f"{key} {value}" for key, value in candidate.parameters.items()]
    parts += [candidate.targets] if candidate.targets != "none" else []
    parts += [f"rate {candidate.learning_rate:.3g}"]
    parts += [candidate.quantization] if candidate.quantization != "none" else []
    return {"method": candidate.method, "settings": ", ".join(parts)}


def _config(path: Path) -> Entry:
    tuned = TunedConfig.load(path)
    origin = tuned.provenance
    return Entry(
        name=str(path), kind="config", **_chosen(tuned.candidate), **_about(tuned), validation=origin.validation,
        test=origin.test, lower_is_better=_lower(tuned, origin.test), **_planned(tuned),
    )  # fmt: skip


def _planned(tuned: TunedConfig) -> dict[str, Any]:
    """Returns what a config is expected to take; nothing where its model is not here, which is no part of it."""
    try:
        setup = tuned.setup()
    except ModelError:
        return {}
    tokens = tuned.data.token_limit
    if tokens is None:
        return {}
    found = draft(setup, tokens_per_row=tokens, hardware=probe_hardware())
    return {
        "trainable_parameters": found.trainable_parameters,
        "estimated_bytes": found.memory.total_bytes,
        "estimated_tokens": tokens,
    }


def _run(path: Path) -> Entry:
    folder = TrainedFolder(path)
    trained, tuned = folder.finished(), TunedConfig.load(folder.tuned)
    passed = trained.inference
    return Entry(
        name=str(path), kind="run", **_chosen(tuned.candidate), **_about(tuned), validation=trained.validation.after,
        test=trained.test.after, seconds=trained.seconds, peak_bytes=trained.peak_bytes,
        forgetting=trained.forgetting, latency=passed.latency if passed else None,
        inference_bytes=passed.peak_bytes if passed else None,
        prediction_seconds_per_row=trained.prediction_seconds_per_row,
        adapter_bytes=_size(path) if trained.adapter_bytes is None else trained.adapter_bytes,
        trainable_parameters=trained.trainable_parameters, lower_is_better=_lower(tuned, trained.test.after),
        estimated_bytes=trained.expected.peak_bytes if trained.expected else None,
    )  # fmt: skip


_NAMES = {"winner": "winner", "default_lora": "default recipe", "raced_lora": "raced recipe"}
"""What those that a search compares are called, by their keys in its result."""


def _named(path: Path, key: str) -> str:
    return f"{path} ({_NAMES[key]})"


def _paired(path: Path, result: SearchResult) -> Paired:
    """Returns what a search found between its winner and each recipe, row by row."""
    return {(_named(path, "winner"), _named(path, key)): found for key, found in result.difference.items()}


def _result(path: Path, outcomes: Sequence[TrialOutcome] | None) -> SearchResult:
    result = OutputFolder(path).finished(outcomes)
    if result is None:
        raise StudyError(
            f"{path} holds a search that has gone on since it compared.\nRun it with --resume to its end first."
        )
    return result


def _search(path: Path, result: SearchResult, outcomes: Sequence[TrialOutcome]) -> list[Entry]:
    tuned = TunedConfig.load(path / "tuned.yaml")
    # The final trainings measure less than the trials do.
    trials = {to_json(plain(trial.candidate)): trial for trial in outcomes if trial.status == "completed"}
    return [
        Entry(
            name=_named(path, key), kind="search", **_chosen(one.config), **_about(tuned), validation=one.validation,
            test=one.test, seconds=one.seconds, lower_is_better=_lower(tuned, one.test),
            **_measured(trials.get(to_json(plain(one.config)))),
        )
        for key, one in result.contenders.items()
    ]  # fmt: skip


def _outcomes(path: Path) -> tuple[TrialOutcome, ...] | None:
    """Returns the outcomes of a search, None where its study is not there."""
    from autopeft.tuning.kept import kept_study

    study = kept_study(OutputFolder(path).study)
    return None if study is None else study.outcomes()


def _measured(trial: TrialOutcome | None) -> dict[str, Any]:
    if trial is None:
        return {}
    names = ("peak_bytes", "forgetting", "latency", "adapter_bytes", "trainable_parameters")
    return {name: getattr(trial, name) for name in names}


def _adapter(path: Path) -> Entry:
    adapter = read_adapter(path)
    config = adapter.config
    settings = [f"{name} {config[name]}" for name in ("r", "lora_alpha") if name in config]
    return Entry(
        name=str(path), kind="adapter", method=adapter.kind, settings=", ".join(settings),
        base=str(config.get("base_model_name_or_path") or ""), adapter_bytes=_size(path),
        trainable_parameters=adapter.parameters,
    )  # fmt: skip


def _size(path: Path) -> int | None:
    return next((file.stat().st_size for name in _WEIGHTS if (file := path / name).is_file()), None)


def _verdict(one: Entry, two: Entry, paired: Paired) -> Verdict:
    because = _incomparable(one, two)
    if because or one.test is None or two.test is None:
        return Verdict(first=one.name, second=two.name, difference=None, because=because)
    found = paired.get((one.name, two.name))
    difference = found or _independent(one.test, two.test)
    first_wins = (difference.value < 0) == one.lower_is_better
    return Verdict(
        first=one.name,
        second=two.name,
        difference=difference,
        better=(one.name if first_wins else two.name) if difference.distinguishable else "",
        paired=found is not None,
    )


def _independent(one: Score, two: Score) -> Difference:
    value = one.value - two.value
    # Percentile intervals need not be symmetric: each side of the difference takes the sides that lead there.
    down = sqrt((one.value - one.low) ** 2 + (two.high - two.value) ** 2)
    up = sqrt((one.high - one.value) ** 2 + (two.value - two.low) ** 2)
    low, high = value - down, value + up
    return Difference(value=value, low=low, high=high, level=one.level, distinguishable=not low <= 0 <= high)


def _incomparable(one: Entry, two: Entry) -> str:
    if one.test is None or two.test is None:
        return "one has no test score"
    if one.test.metric != two.test.metric:
        return f"the metrics differ: {one.test.metric} and {two.test.metric}"
    if one.data != two.data or one.test.rows != two.test.rows:
        return f"the test rows differ: {one.test.rows} of {one.data} and {two.test.rows} of {two.data}"
    return ""
