"""Measured runs: read from files, checked, and asked what they say of a method."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from autopeft import resources
from autopeft.errors import FileFormatError
from autopeft.files import parse, plain
from autopeft.recommend._evidence_checks import problems
from autopeft.values.evidence import Run, RunQuality

SHIPPED = "profiles/evidence"
"""Where the measured runs lie that autopeft knows, as a reader is told."""

OWN = "own_"
"""What the files of this project's own runs begin with: a sample over many settings, not a table of tuned methods."""

NOISE_POINTS = 0.8
"""Standard deviation of repeats of one configuration, in points: the median over the repeated configurations of the
published MetaMathQA suite, an upper bound because the libraries changed between repeats."""

_Found = list[tuple[Run, float, int]]
"""Runs of one configuration, what each gained in its setting, and over how many plain LoRA runs."""


@dataclass(frozen=True, kw_only=True)
class MeasuredGain:
    """What published runs say a method gains over plain LoRA in the same setting.

    Attributes:
        points: of a hundred, of the method's best configuration on each model; it was picked by these runs, so it
            flatters a little.
        runs: of those configurations.
        noise: standard error of ``points``: what repeats of one configuration lead one to expect, or what the models
            disagree by where that is more.
        models: models that the runs were on: a method that wins on one may lose on another.
        tasks: tasks, likewise.
        learning_rates: that the method was run at, ascending, in whatever configuration.
        source: addresses.
    """

    points: float
    runs: int
    noise: float
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    learning_rates: tuple[float, ...]
    source: str

    def starved(self, low: float, high: float) -> bool:
        """Whether no run came out of the lowest third of a range of rates, so that a loss says little of the method.

        Args:
            low: lower end of the method's own range of learning rates, which is taken on a logarithmic scale.
            high: its upper end.
        """
        if not self.learning_rates:
            return False
        return math.log(self.learning_rates[-1] / low) < math.log(high / low) / 3


def read_runs(path: Path, *, unique: bool = True) -> tuple[Run, ...]:
    """Returns the runs of a JSONL file, one a line, in its order.

    Args:
        path: of the file.
        unique: whether a name that two runs have is refused.

    Raises:
        FileFormatError: the file cannot be read; or lines are not JSON, do not follow the schema or hold impossible
            figures, of which all are listed with line and key.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # a text may hold what else ends a line in Unicode
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} cannot be read: {error}") from error
    runs: list[Run] = []
    names: set[str] = set()
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            run = parse_run(line, f"{path}, line {number}")
        except FileFormatError as error:
            wrong.append(str(error))
            continue
        if unique and run.name in names:
            wrong.append(f"{path}, line {number}: `name` must be unique in the file; got {run.name!r} again.")
        names.add(run.name)
        runs.append(run)
    if wrong:
        raise FileFormatError("\n".join(wrong))
    return tuple(runs)


def level(quality: RunQuality) -> float:
    """Returns a quality so that differences are points of a hundred, or per cent of the loss."""
    if quality.higher_is_better:
        return 100 * quality.value
    loss = math.log(quality.value) if quality.metric == "perplexity" else quality.value
    return -100 * math.log(loss)


def parse_run(line: str, owner: str) -> Run:
    """Returns the run that a line of JSON holds.

    Raises:
        FileFormatError: it is not JSON, not of the schema, or not possible.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets in brackets
        raise FileFormatError(f"{owner} is not valid JSON: {error}") from error
    run = parse(Run, content, owner)
    wrong = problems(run)
    if wrong:
        raise FileFormatError("\n".join([f"{owner} is not a possible run:", *(f"  {problem}" for problem in wrong)]))
    return run


def to_line(run: Run) -> str:
    """Returns a run as one line of JSON without a line break: the same run gives the same bytes.

    What has its default is left out, so that a line holds what the source says and nothing else.
    """
    return json.dumps(plain(_said(run)), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _said(value: Any) -> dict[str, Any]:
    """Returns a dataclass as a mapping of the fields that differ from their defaults."""
    found: dict[str, Any] = {}
    for item in fields(value):
        content = getattr(value, item.name)
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if content == default and item.name != "schema_version":
            continue
        if isinstance(content, tuple):
            content = [_said(part) if is_dataclass(part) else part for part in content]
        found[item.name] = _said(content) if is_dataclass(content) else content
    return found


@cache
def shipped_runs() -> tuple[Run, ...]:
    """Returns all runs that come with autopeft, published ones and its own, files in the order of their names."""
    folder = resources.profiles() / "evidence"
    return tuple(run for path in sorted(folder.glob("*.jsonl")) for run in read_runs(path))


@cache
def published_runs() -> tuple[Run, ...]:
    """Returns the runs that others have measured and published."""
    folder = resources.profiles() / "evidence"
    paths = (path for path in sorted(folder.glob("*.jsonl")) if not path.name.startswith(OWN))
    return tuple(run for path in paths for run in read_runs(path))


def measured_gain(method: str) -> MeasuredGain | None:
    """Returns what disinterested published runs say of a method against plain LoRA; None where they say nothing.

    In each setting a run is compared with the plain LoRA runs on the same targets, on any targets where it takes
    none. A configuration's gain is the mean over its settings; on each model the best configuration counts, and the
    method's gain is the mean over models. Plain LoRA gains 0.

    Args:
        method: a name of the catalogue.
    """
    return _gains().get(method)


@cache
def _gains() -> dict[str, MeasuredGain]:
    return gains(published_runs())


def gains(runs: Iterable[Run]) -> dict[str, MeasuredGain]:
    """Returns the gain of each method that the runs hold, by name; see `measured_gain`."""
    settings: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.quality is not None and run.quality.share and run.status == "completed" and not run.interested:
            settings[run.setting].append(run)
    differences: dict[tuple[str, str, str], _Found] = defaultdict(list)
    for members in settings.values():
        for run in members:
            references = _references(run, members)
            if run.method is not None and references:
                differences[run.method, run.model.name, _configuration(run)].append(
                    (run, _points(run) - mean(_points(other) for other in references), len(references))
                )
    rates: dict[str, set[float]] = defaultdict(set)
    for (method, *_), found in differences.items():
        rates[method] |= {run.learning_rate for run, _, _ in found if run.learning_rate is not None}
    best: dict[tuple[str, str], _Found] = {}
    for (method, model, _), found in differences.items():
        held = best.get((method, model))
        if held is None or _mean(found) > _mean(held):
            best[method, model] = found
    by_method: dict[str, list[_Found]] = defaultdict(list)
    for (method, _), found in best.items():
        by_method[method].append(found)
    return {name: _gain(parts, tuple(sorted(rates[name]))) for name, parts in sorted(by_method.items())}


def _mean(found: _Found) -> float:
    return mean(points for _, points, _ in found)


def _references(run: Run, members: list[Run]) -> list[Run]:
    """Returns the plain LoRA runs of a setting to compare a run with."""
    every = [other for other in members if other.reference]
    same = [other for other in every if other.targets == run.targets]
    return same or every


def _points(run: Run) -> float:
    """Returns a run's quality in points of a hundred, higher being better."""
    assert run.quality is not None  # only such runs are compared
    return 100 * run.quality.value * (1 if run.quality.higher_is_better else -1)


def _configuration(run: Run) -> str:
    """Returns what makes two runs in different settings repeats of each other."""
    kept = (dict(run.parameters), dict(run.unmapped), run.targets, run.layers, run.quantization, run.optimizer)
    return json.dumps([*kept, run.learning_rate], sort_keys=True)


def _gain(parts: list[_Found], rates: tuple[float, ...]) -> MeasuredGain:
    """Returns the gain that the best configurations on each model come to."""
    runs = [run for found in parts for run, _, _ in found]
    variances = [mean(1 + 1 / references for _, _, references in found) / len(found) for found in parts]
    reference = all(run.reference for run in runs)
    return MeasuredGain(
        points=0.0 if reference else mean(_mean(found) for found in parts),
        runs=len(runs),
        noise=0.0 if reference else max(NOISE_POINTS * sum(variances) ** 0.5 / len(parts), _disagreement(parts)),
        models=tuple(sorted({run.model.name for run in runs})),
        tasks=tuple(sorted({run.task.name for run in runs})),
        learning_rates=rates,
        source="; ".join(sorted({run.source for run in runs})),
    )


def _disagreement(parts: list[_Found]) -> float:
    """Returns the standard error of the mean over models that their spread leads one to expect; 0 for one model."""
    return stdev(map(_mean, parts)) / len(parts) ** 0.5 if len(parts) > 1 else 0.0
