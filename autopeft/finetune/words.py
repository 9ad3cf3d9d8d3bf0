"""What the model card and the terminal say of a training in the same words."""

from collections.abc import Callable, Iterator
from pathlib import Path

from autopeft.finetune.outcomes import Evaluation, Inference, Trained
from autopeft.profiling.sizes import format_bytes
from autopeft.values.outcomes import Forgetting, Score

MEASURES = {
    "perplexity": "perplexity of general text",
    "masked_lm_loss": "masked-word loss on general text",
    "representation_drift": "drift of hidden states on general text",
}


def score_words(score: Score) -> str:
    """Returns a score with its interval: ``0.8123 (0.7891 to 0.8340)``."""
    return f"{score.value:.4f} ({score.low:.4f} to {score.high:.4f})"


def last_parts(source: str) -> str:
    """Returns a source by its last two parts, which tell data apart that a path gives the same last name."""
    return "/".join(Path(source).parts[-2:])


def before_and_after(trained: Trained, named: Callable[[str], str] = last_parts) -> Iterator[tuple[str, str, str]]:
    """Yields what was measured, its value before training, and its value after.

    Args:
        trained: what came of a training.
        named: how the source of other data is called.
    """
    for name, part in (("validation", trained.validation), ("test", trained.test)):
        yield f"{part.after.metric}, {part.after.rows} {name} rows", *_scores(part)
    for second in trained.also:
        yield (
            f"{second.after.metric}, {second.after.rows} test rows of {named(second.source)}",
            score_words(second.before),
            score_words(second.after),
        )
    if trained.forgetting is not None:
        yield forgetting_words(trained.forgetting)
    if trained.inference is not None:
        yield from _inference(trained.inference, on_cpu=trained.expected is None or trained.expected.kind == "cpu")


def forgetting_words(found: Forgetting) -> tuple[str, str, str]:
    """Returns what general text says of a model before training and after."""
    return MEASURES[found.measure], f"{found.before:.4g}", f"{found.after:.4g} ({found.change:+.3g})"


def estimate_words(trained: Trained) -> Iterator[tuple[str, str, str]]:
    """Yields what training took: its name, what was estimated before it began, and what was measured."""
    if trained.expected is None:
        return
    said, step = trained.expected, trained.expected.step_seconds
    whole = " (the whole process)" if said.kind == "cpu" else ""
    if trained.peak_bytes is not None:
        yield "peak memory of training", format_bytes(said.peak_bytes), f"{format_bytes(trained.peak_bytes)}{whole}"
    if trained.step_seconds is not None:
        expected = "unknown before `autopeft profile --measure`" if step is None else _duration(step)
        yield "optimizer step", expected, _duration(trained.step_seconds)


def _scores(part: Evaluation) -> tuple[str, str]:
    return score_words(part.before), score_words(part.after)


def _inference(found: Inference, *, on_cpu: bool) -> Iterator[tuple[str, str, str]]:
    latency = found.latency
    merged = "" if latency.merged_milliseconds is None else f", merged {_duration(latency.merged_milliseconds / 1000)}"
    what = f"forward pass, {latency.rows} rows of {latency.tokens} tokens in all"
    after = f"{_duration(latency.attached_milliseconds / 1000)}{merged}"
    yield what, _duration(found.base_milliseconds / 1000), after
    if found.base_peak_bytes is not None and found.peak_bytes is not None:
        name = "memory of the process in it" if on_cpu else "memory of it"
        yield name, format_bytes(found.base_peak_bytes), format_bytes(found.peak_bytes)


def _duration(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
