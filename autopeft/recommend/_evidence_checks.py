"""What a measured run cannot be, however well its file is formed."""

import datetime
import math
import sys
from collections.abc import Iterator, Mapping

from autopeft.values.evidence import Run, RunQuality

PEAK_KINDS = ("", "allocated", "reserved", "process")

_POSITIVE = (
    "learning_rate", "batch_size", "sequence_limit", "steps", "model.parameters", "model.layers", "model.hidden_size",
    "model.vocabulary_size", "task.rows", "task.tokens_per_row", "quality.rows",
)  # fmt: skip
_NOT_NEGATIVE = ("tokens", "trainable_parameters", "peak_bytes", "seconds", "task.labels")


def problems(run: Run) -> list[str]:
    """Returns one sentence for each impossible figure, naming its key; empty where the run is possible."""
    return [f"`{key}` must be {expected}; got {got!r}." for key, expected, got in _wrong(run)]


def _wrong(run: Run) -> Iterator[tuple[str, str, object]]:
    if run.schema_version != 1:
        yield "schema_version", "1", run.schema_version
    for key in ("name", "setting", "device", "source", "licence"):
        if not getattr(run, key).strip():
            yield key, "said", getattr(run, key)
    if not _is_date(run.date):
        yield "date", "a day as YYYY-MM-DD", run.date
    if run.peak_kind not in PEAK_KINDS or (run.peak_bytes is not None and not run.peak_kind):
        yield "peak_kind", "allocated, reserved or process where there is a peak", run.peak_kind
    yield from _numbers(run)
    yield from _counts(run)
    yield from _quality(run)


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _at(run: Run, key: str) -> float | None:
    value: object = run
    for part in key.split("."):
        value = None if value is None else getattr(value, part)
    return value if isinstance(value, int | float) else None


def _numbers(run: Run) -> Iterator[tuple[str, str, object]]:
    for key in (*_POSITIVE, *_NOT_NEGATIVE):
        value = _at(run, key)
        if value is None:
            continue
        # Not by isfinite, which raises for an integer that is beyond every float.
        if not 0 <= value <= sys.float_info.max or (value == 0 and key in _POSITIVE):
            yield key, "a finite number above 0" if key in _POSITIVE else "a finite number of 0 or more", value
    if run.forgetting is not None and not math.isfinite(run.forgetting):
        yield "forgetting", "a finite number", run.forgetting


def _counts(run: Run) -> Iterator[tuple[str, str, object]]:
    total, trained = run.model.parameters, run.trainable_parameters
    # Added modules and a head are not among the model's own, so a method may train a little more than all of them.
    if total is not None and trained is not None and trained > 2 * total:
        yield "trainable_parameters", f"at most about the model's {total:,}", trained
    if run.status == "completed" and run.quality is None and run.peak_bytes is None and run.seconds is None:
        yield "quality", "there, or a peak or seconds, for a completed run", None


def _quality(run: Run) -> Iterator[tuple[str, str, object]]:
    quality = run.quality
    if quality is None:
        return
    values: dict[str, float | None] = {"quality.value": quality.value}
    values |= {f"quality.curve.{index}.value": point.value for index, point in enumerate(quality.curve)}
    for key, value in values.items():
        if value is not None and not possible(quality, value):
            yield key, _expected(quality), value
    yield from _curve(quality)
    yield from _finite(quality.others)


def possible(quality: RunQuality, value: float) -> bool:
    """Whether a value is one that the quality's metric can have, and that can be set beside others (`level`)."""
    return math.isfinite(value) and (not quality.share or 0 <= value <= 1) and value > _least(quality)


def _least(quality: RunQuality) -> float:
    """Returns what a value must be above: what falls is compared by its logarithm, a perplexity by that of its own."""
    if quality.higher_is_better:
        return -math.inf
    return 1.0 if quality.metric == "perplexity" else 0.0


def _expected(quality: RunQuality) -> str:
    above = "" if quality.higher_is_better else f" above {_least(quality):g}"
    return f"{'between 0 and 1' if quality.share else 'a finite number'}{above} for the {quality.metric}"


def _curve(quality: RunQuality) -> Iterator[tuple[str, str, object]]:
    before = 0.0
    for index, point in enumerate(quality.curve):
        if not before <= point.share <= 1:
            yield f"quality.curve.{index}.share", "ascending between 0 and 1", point.share
        before = point.share
        for key in ("train_loss", "validation_loss"):
            loss = getattr(point, key)
            if loss is not None and not math.isfinite(loss):
                yield f"quality.curve.{index}.{key}", "a finite number", loss


def _finite(others: Mapping[str, float]) -> Iterator[tuple[str, str, object]]:
    for name, value in others.items():
        if not math.isfinite(value):
            yield f"quality.others.{name}", "a finite number", value
