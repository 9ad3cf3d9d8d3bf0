"""What `autopeft estimate` shows: the document for programs; a bar of the breakdown and what to change for people."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from autopeft.estimation.answer import Answer, run_cost
from autopeft.estimation.remedies import Remedy
from autopeft.profiling.sizes import format_bytes

BAR = 36
"""Columns of a full bar, so that a line stays below 80."""

WORDS = {
    "weights": "weights",
    "adapter": "adapter",
    "gradients": "gradients",
    "optimizer_state": "optimizer state",
    "activations": "activations",
    "logits_and_loss": "logits and loss",
    "temporaries": "temporaries",
}
"""The kinds of memory as people read them."""

PHASES = {
    "forward": "forward pass", "backward": "backward pass", "optimizer_step": "optimizer step", "load": "loading",
    "evaluation": "scoring",
}  # fmt: skip


def document(found: Answer) -> dict[str, Any]:
    """Returns the JSON document; ``maximum`` is there where it was asked for, null where nothing fits."""
    cost = run_cost(found)
    keys = [key.name for key in fields(cost) if key.name != "maximum" or found.maximize is not None]
    return {key: getattr(cost, key) for key in keys}


def view(found: Answer) -> tuple[Any, ...]:
    """Returns what a person sees: the run, the verdict, the breakdown as bars, the time, what to change first."""
    parts: list[Any] = [_text(_run(found)), _text(_verdict(found)), "", *_bars(found), "", *_sums(found)]
    if found.maximize is not None and found.maximum is not None:
        parts.append(_text(f"The largest {found.maximize.words} that fits is {found.maximum:,}."))
    if found.remedies:
        parts += ["\n[bold]What to change first[/bold]", *(_remedy_line(remedy) for remedy in found.remedies)]
    if found.notes:
        parts += ["\n[bold]Notes[/bold]", *(_Indented(note) for note in found.notes)]
    return tuple(parts)


def _run(found: Answer) -> str:
    setup, tokens = found.plan.setup, found.plan.tokens
    candidate = setup.candidate
    rows = f"batch {candidate.batch_size}×{candidate.accumulation} of {tokens:,} tokens"
    weights = candidate.dtype if candidate.quantization == "none" else f"{candidate.quantization}, {candidate.dtype}"
    said = [f"{name} {value}" for name, value in candidate.parameters.items() if value not in (0.0, False)]
    said += [] if candidate.targets == "none" else [candidate.targets]
    said += [] if candidate.layers == "all" else [f"layers {candidate.layers}"]
    return (
        f"{setup.model.architecture}: {', '.join([candidate.method, *said])}\n"
        f"{', '.join([weights, candidate.optimizer, rows, *_practice(found)])}"
    )


def _practice(found: Answer) -> list[str]:
    """Returns how a step goes about it, where that is not as usual."""
    practice = found.plan.practice
    how = "" if practice.checkpointing == "own" else f"{practice.checkpointing} "
    said = {
        f"{how}checkpointing": found.plan.setup.candidate.gradient_checkpointing,
        f"{practice.loss} loss": practice.loss != "whole",
        f"{practice.attention} attention": practice.attention != "sdpa",
        "packed": practice.packing,
        "without autocast": not practice.autocast,
    }
    return [words for words, true in said.items() if true]


def _verdict(found: Answer) -> str:
    total, limit = found.estimate.memory.total_bytes, found.plan.limit_bytes
    left = found.headroom_bytes
    how = f"{format_bytes(left)} left" if left >= 0 else f"{format_bytes(-left)} too much"
    fits = "It fits" if found.fits else "It does not fit"
    each = f" each of {found.plan.devices}" if found.plan.devices > 1 else ""
    return f"{fits}: {format_bytes(total)} of {format_bytes(limit)} on{each} {found.plan.device.name}, {how}."


def _bars(found: Answer) -> list[Any]:
    breakdown = found.estimate.memory.breakdown
    largest = max(*breakdown.values(), 1)
    allocated = max(found.estimate.memory.peak_allocated_bytes, 1)
    lines = []
    for kind, words in WORDS.items():
        size = breakdown[kind]
        bar = "█" * round(BAR * size / largest) or ("▏" if size else "")
        lines.append(_text(f"{words:<16}{bar:<{BAR}} {format_bytes(size):>10} {size / allocated:>5.0%}"))
    return lines


def _sums(found: Answer) -> list[Any]:
    cost, memory = found.estimate, found.estimate.memory
    phase = PHASES.get(memory.peak_phase, memory.peak_phase)
    peak = f" ({phase})" if phase else ""
    sums = (
        f"Peak{peak}: {format_bytes(memory.peak_allocated_bytes)} allocated, "
        f"{format_bytes(memory.peak_reserved_bytes)} reserved, {format_bytes(memory.context_bytes)} context"
    )
    share = cost.trainable_parameters / max(cost.total_parameters, 1)
    trained = f"Trains {cost.trainable_parameters:,} of {cost.total_parameters:,} parameters ({share:.2%})"
    return [_text(sums), _text(trained), _text(_time(found))]


def _time(found: Answer) -> str:
    cost = found.estimate
    if cost.step_seconds is None or found.tokens_per_second is None:
        return "Time: not known for this device; --measure times it where it is this machine's"
    interval = ""
    if cost.step_seconds_low is not None and cost.step_seconds_high is not None:
        interval = f" ({cost.step_seconds_low:.3g} to {cost.step_seconds_high:.3g})"
    return f"Step: {cost.step_seconds:.3g} s{interval}, {found.tokens_per_second:,.0f} tokens/s"


def _remedy_line(remedy: Remedy) -> Any:
    mark = "fits" if remedy.fits else "still too much"
    return _Indented(
        f"{remedy.words}: {format_bytes(remedy.gain_bytes)} less, {format_bytes(remedy.total_bytes)}, {mark}"
    )


@dataclass(frozen=True)
class _Indented:
    """Text two columns in, broken at the terminal's width and not filled up to it: it may be copied."""

    text: str

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        for line in _text(self.text).wrap(console, options.max_width - 2):
            line.rstrip()
            yield _text("  ") + line


def _text(text: str) -> Any:
    """Returns text that is printed as it is: a name or a path may hold square brackets."""
    from rich.text import Text

    return Text(text)
