"""What `autopeft profile` shows: the document for programs, three short tables for people."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from autopeft.profiling import Profile
from autopeft.profiling.sizes import format_bytes
from autopeft.values.profiles import Device, HardwareProfile, ModelProfile, TaskProfile

LABELS_SHOWN = 12
"""Labels whose share is printed; the others are counted."""


def document(found: Profile) -> dict[str, Any]:
    """Returns the JSON document; a model's modules are summed up by role, being too many to list."""
    return {
        "hardware": found.hardware,
        "model": None if found.model is None else _summary(found.model),
        "task": found.task,
    }


def _summary(model: ModelProfile) -> dict[str, Any]:
    plain = {field.name: getattr(model, field.name) for field in fields(model) if field.name != "modules"}
    return {
        **plain,
        "head_parameters": model.head_parameters,
        "head_modules": model.head_modules,
        "parameters_by_role": _by_role(model),
    }


def _by_role(model: ModelProfile) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for module in model.modules:
        sums[module.role] += module.parameters
    return dict(sums.most_common())


def view(found: Profile) -> tuple[Any, ...]:
    """Returns what a person sees: a table for the hardware, and for the model and the task where there are any."""
    parts: list[Any] = list(_hardware(found.hardware))
    if found.model is not None:
        parts += ["", *_section("Model", _model_rows(found.model), found.model.notes)]
    if found.task is not None:
        parts += ["", *_section("Task", _task_rows(found.task), found.task.notes)]
    return tuple(parts)


def _hardware(hardware: HardwareProfile) -> list[Any]:
    rows = [
        (("* " if position == hardware.selected and len(hardware.devices) > 1 else "") + device.name, _device(device))
        for position, device in enumerate(hardware.devices)
    ]
    rows.append(("Machine", f"{hardware.cpu_count} processors, {format_bytes(hardware.ram_bytes)} RAM"))
    rows.append(("Dtype", f"{hardware.dtype}: {hardware.dtype_reason}"))
    title = {"nvml": "this machine's GPU", "cpu": "this machine's CPU", "catalogue": "from the catalogue",
             "given": "memory as given"}[hardware.source]  # fmt: skip
    return _section(f"Hardware ({title})", rows, hardware.notes)


def _device(device: Device) -> str:
    said = [f"{format_bytes(device.free_memory_bytes)} free of {format_bytes(device.total_memory_bytes)}"]
    if device.compute_capability:
        said.append(f"compute capability {device.compute_capability}")
    if device.other_processes:
        held = format_bytes(device.other_used_bytes)
        said.append(f"{device.other_processes} other processes hold {held}")
    lines = [", ".join(said)]
    if device.throughput is not None:
        rates = [
            f"{dtype} {rate:.0f}" if rate >= 100 else f"{dtype} {rate:.3g}"
            for dtype, rate in device.throughput.tflops.items()
        ]
        lines.append(f"TFLOP/s: {', '.join(rates)}" if rates else "no rate is stated")
        bandwidth = device.throughput.bandwidth_bytes_per_second
        if bandwidth is not None:
            lines.append(f"{bandwidth / 1e9:.0f} GB/s memory bandwidth")
        lines.append(f"source: {device.throughput.source}")
    return "\n".join(lines)


def _model_rows(model: ModelProfile) -> list[tuple[str, str]]:
    shared = "tied" if model.tied_embeddings else "not tied"
    positions = "no limit" if model.max_positions is None else f"{model.max_positions:,} positions"
    size = "none found" if model.weight_bytes is None else f"{format_bytes(model.weight_bytes)}, {model.weight_format}"
    names = ", ".join(model.head_modules)
    head = f"{names}: {model.head_parameters:,} new parameters" if names else "nothing new"
    return [
        ("Source", model.source),
        ("Architecture", f"{model.architecture} ({model.model_type}, {model.kind})"),
        ("Parameters", f"{model.parameters:,}"),
        ("Task head", head),
        ("Tasks", ", ".join(model.tasks)),
        ("Layers", f"{model.layers} of hidden {model.hidden_size:,}, feed-forward {model.feed_forward_size:,}"),
        ("Attention", f"{model.attention_heads} heads, {model.key_value_heads} key-value, {model.head_size} wide"),
        ("Vocabulary", f"{model.vocabulary_size:,} tokens, embeddings {shared}, {positions}"),
        ("By role", _shares(_by_role(model), model.parameters)),
        ("Weights", size),
    ]


def _task_rows(task: TaskProfile) -> list[tuple[str, str]]:
    lengths = task.tokens
    rows = [
        ("Source", task.source),
        ("Type", task.task),
        ("Rows", ", ".join(f"{count:,} {split}" for split, count in task.rows.items())),
        ("Columns", ", ".join(f"{role} = {column}" for role, column in task.columns.items())),
        ("Tokens a row", f"p50 {lengths.p50}, p95 {lengths.p95}, longest {lengths.longest}, mean {lengths.mean:.1f}"),
    ]
    if task.labels:
        rows.append((f"{len(task.labels)} labels", _shares(task.label_counts, sum(task.label_counts.values()))))
    rows.append(("Text", f"{task.script or 'unknown'} script, language {task.language or 'unknown'}"))
    rows.append(("Duplicates", f"{task.duplicates:,} within splits, {task.leaked:,} leaked from train"))
    return rows


def _shares(counts: Mapping[str, int], total: int) -> str:
    shown = list(counts.items())[:LABELS_SHOWN]
    said = [f"{name} {100 * count / total:.1f} %" for name, count in shown]
    return ", ".join(said) + (f", and {len(counts) - len(shown)} more" if len(counts) > len(shown) else "")


def _section(title: str, rows: Iterable[tuple[str, str]], notes: Iterable[str]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    # Paths and labels are the user's: as Text, brackets in them are no markup.
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", max_width=30, overflow="fold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return [Text(title, style="bold"), table, *(Text(f"Note: {note}", style="yellow") for note in notes)]
