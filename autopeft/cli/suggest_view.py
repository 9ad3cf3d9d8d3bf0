"""What `autopeft suggest` shows: the flat document for programs, tables and reasons for people."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from autopeft.values.candidates import Recommendation, Suggestion

if TYPE_CHECKING:
    from autopeft.recommend.suggest import Profiles
    from autopeft.values.predictions import ProbeRun
    from autopeft.values.profiles import TokenLengths

SHOWN = 10
"""Candidates in the table where the user does not say."""

EXPLAINED = 3
"""Candidates whose reasons are printed."""

LONG_MODEL_FIELDS = frozenset({"modules"})
"""What a model's summary leaves out."""


def document(profiles: "Profiles", found: Recommendation, shown: int, server: str | None = None) -> dict[str, Any]:
    """Returns the JSON document: profiles, candidates in order of preference, what was left out, and notes."""
    model = profiles.model
    return {
        "hardware": profiles.hardware,
        "model": {f.name: getattr(model, f.name) for f in fields(model) if f.name not in LONG_MODEL_FIELDS},
        "task": profiles.task,
        "candidates": [flat(suggestion, rank, server) for rank, suggestion in enumerate(found.candidates[:shown], 1)],
        "rejected": list(found.rejected),
        "notes": list(found.notes),
    }


def flat(suggestion: Suggestion, rank: int, server: str | None) -> dict[str, Any]:
    """Returns a suggestion as one level of keys; ``peak_memory_bytes`` is reserved memory plus context."""
    from autopeft.methods import get_method
    from autopeft.recommend.serving import served

    candidate, estimate = suggestion.candidate, suggestion.estimate
    return {
        "rank": rank,
        "method": candidate.method,
        "parameters": dict(candidate.parameters),
        "targets": candidate.targets,
        "layers": candidate.layers,
        "quantization": candidate.quantization,
        "dtype": candidate.dtype,
        "optimizer": candidate.optimizer,
        "schedule": candidate.schedule,
        "learning_rate": candidate.learning_rate,
        "batch_size": candidate.batch_size,
        "accumulation": candidate.accumulation,
        "gradient_checkpointing": candidate.gradient_checkpointing,
        "trainable_parameters": estimate.trainable_parameters,
        "peak_memory_bytes": estimate.memory.total_bytes,
        "fits": suggestion.fits,
        "step_seconds": estimate.step_seconds,
        "estimate_notes": list(estimate.notes),
        "predicted": suggestion.prediction,
        "probe": suggestion.probe,
        "on_front": suggestion.on_front,
        "served": None if server is None else served(get_method(candidate.method), server),
        "score": suggestion.score,
        "reasons": list(suggestion.reasons),
    }


def view(profiles: "Profiles", found: Recommendation, shown: int, server: str | None = None) -> tuple[Any, ...]:
    """Returns what a person sees: the setting, the table, the reasons of the first few, what was left out.

    Of a Pareto set the rest is not shown.
    """
    front = tuple(s for s in found.candidates if s.on_front)
    candidates = (front or found.candidates)[:shown]
    parts: list[Any] = [_setting(profiles), "", _table(candidates)]
    if any(s.prediction and s.prediction.extrapolates for s in candidates):
        parts.append(f"{_FAR} nothing like it was measured; --json says in what.")
    parts.extend(_explained(place, s, server) for place, s in enumerate(candidates[:EXPLAINED], 1))
    if found.rejected:
        parts.append("\n[bold]Left out[/bold]")
        parts.extend(_left_out(found))
    if found.notes:
        parts.append("\n[bold]Notes[/bold]")
        parts.extend(_indented(note) for note in found.notes)
    return tuple(parts)


def _setting(profiles: "Profiles") -> Any:
    from autopeft.recommend.remedies import gib

    model, task, device = profiles.model, profiles.task, profiles.hardware.device
    lines = (
        f"{model.architecture}, {_count(model.parameters)} parameters, {model.layers} layers",
        f"{task.task}, {task.training_rows:,} training rows, {_lengths(task.tokens)}",
        f"{device.name}, {gib(device.free_memory_bytes)} free of {gib(device.total_memory_bytes)}; "
        f"{profiles.hardware.dtype}: {profiles.hardware.dtype_reason}",
    )
    return _text("\n".join(lines))


def _lengths(tokens: "TokenLengths") -> str:
    if tokens.p50 == tokens.longest:
        return f"{tokens.p50} tokens each"
    return f"{tokens.p50} tokens in the middle, {tokens.longest} at most"


def _table(suggestions: tuple[Suggestion, ...]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1))
    table.add_column("#", justify="right")
    table.add_column("Method", no_wrap=True)
    table.add_column("Settings", overflow="fold")
    level = next((f"\n{100 * s.prediction.level:.0f} %" for s in suggestions if s.prediction), "")
    for title in ("Rate", "Batch", "Trained", "Memory", f"Gain{level}"):
        table.add_column(title, justify="right", no_wrap=True)
    for place, suggestion in enumerate(suggestions, 1):
        table.add_row(str(place), *_row(suggestion))
    return table


def _row(suggestion: Suggestion) -> tuple[str, ...]:
    from autopeft.recommend.remedies import gib

    candidate = suggestion.candidate
    batch = f"{candidate.batch_size}×{candidate.accumulation}"
    memory = gib(suggestion.estimate.memory.total_bytes)
    return (
        candidate.method,
        _settings(suggestion),
        _rate(candidate.learning_rate),
        batch,
        _count(suggestion.estimate.trainable_parameters),
        memory if suggestion.fits else f"{memory}!",
        _gain(suggestion),
    )


def _gain(suggestion: Suggestion) -> str:
    """Returns the gain with its interval below it, marked where nothing like it was measured."""
    found = suggestion.prediction
    if found is None:
        return ""
    return f"{found.points:+.1f}{_FAR * bool(found.extrapolates)}\n{round(found.low)}…{round(found.high)}"


_FAR = "?"


def _rate(rate: float) -> str:
    """Returns a rate such as 3e-4 or 1.5e-3."""
    digits, exponent = f"{rate:.1e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def _settings(suggestion: Suggestion) -> str:
    candidate = suggestion.candidate
    said = [f"{name} {value}" for name, value in candidate.parameters.items() if value not in (0.0, False)]
    said += [] if candidate.targets == "none" else [candidate.targets]
    said += [] if candidate.quantization == "none" else [candidate.quantization]
    said += ["checkpointing"] if candidate.gradient_checkpointing else []
    return ", ".join(said) or "–"


def _explained(place: int, suggestion: Suggestion, server: str | None) -> Any:
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, title_justify="left", title_style="bold")
    table.title = f"\n{place}. {suggestion.candidate.method}: why"
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    # Notes are much the same for all; one candidate's are enough for a person.
    told = [reason for reason in suggestion.reasons if place == 1 or reason.weight]
    for reason in told:
        weight = f"{reason.weight:+.2f}" if reason.weight else "note"
        line = _text(reason.because)
        line.append(f" {reason.contradicted}".rstrip(), style="yellow")
        line.append(f" [{reason.source}]", style="dim")
        table.add_row(weight, line)
    for sentence in (_cost(suggestion), *_serving(suggestion, server), *_grounds(suggestion)):
        table.add_row("", sentence)
    return Padding(table, 0)


def _cost(suggestion: Suggestion) -> Any:
    from autopeft.recommend.remedies import gib

    estimate = suggestion.estimate
    seconds = "unknown time" if estimate.step_seconds is None else f"{estimate.step_seconds:.2g} s"
    return _text(f"Costs {gib(estimate.memory.total_bytes)} of memory and {seconds} per step.")


def _serving(suggestion: Suggestion, server: str | None) -> list[Any]:
    from autopeft.methods import get_method
    from autopeft.recommend.serving import served

    if server is None:
        return []
    return [_text(f"{server} serves it {served(get_method(suggestion.candidate.method), server)}.")]


def _grounds(suggestion: Suggestion) -> list[Any]:
    """Returns what the prediction rests on: whether it extrapolates, and the measured runs nearest to it."""
    if suggestion.prediction is None:
        return []
    lines = [_text(doubt) for doubt in suggestion.prediction.extrapolates]
    if suggestion.probe is not None:
        lines.append(_text(f"Probed: {_probed(suggestion.probe)}."))
    nearest = suggestion.prediction.nearest
    lines += [_text("Nearest measured runs:")] if nearest else []
    for place, neighbour in enumerate(nearest):
        line = _text(f"  {neighbour.method} {neighbour.points:+.1f} {neighbour.unit}, {neighbour.name}")
        if neighbour.source not in {last.source for last in nearest[place + 1 :]}:
            line.append(f" [{neighbour.source}]", style="dim")
        lines.append(line)
    return lines


def _probed(run: "ProbeRun") -> str:
    if run.loss is None:
        return run.status.replace("_", " ")
    return f"loss {run.loss:.3f} after {run.steps} steps, gradient norm {run.gradient_norm:.2g} at first"


def _left_out(found: Recommendation) -> list[Any]:
    from autopeft.recommend.remedies import told

    return [_indented(told(rejection)) for rejection in found.rejected]


def _indented(text: str) -> Any:
    from rich.padding import Padding

    return Padding(_text(text), (0, 0, 0, 2), expand=False)


def _text(text: str) -> Any:
    """Returns text that is printed as it is: a name or a path may hold square brackets."""
    from rich.text import Text

    return Text(text)


def _count(number: int) -> str:
    """Returns a count with three digits and k, M or B."""
    # Rounded before the unit is chosen: 999,950 are a million, and not a thousand thousand.
    rounded = float(f"{number:.3g}")
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if rounded >= size:
            return f"{rounded / size:.3g}{unit}"
    return str(number)
