"""Predicted against measured peak memory, over a grid of architectures, methods, storages, lengths and optimizers.

    python benchmarks/memory.py run [OUTPUT.jsonl]      # goes on where it stopped
    python benchmarks/memory.py summary OUTPUT.jsonl

With a CUDA device the training code runs there, on random weights, and torch's own counters are the measure. Without
one the same code runs on small models on the CPU, followed storage by storage: that proves that the trace counts what
really lives, not that CUDA agrees, and every row says so.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks._memory_cases import ARCHITECTURES, Case, cases

BUDGETS = (0.9, 0.97, 0.99, 1.0, 1.01, 1.03, 1.1)
"""Memory limits, as shares of the measured peak, at which "does it fit" is asked."""


def run(output: Path) -> None:
    """Adds a row for every case that the file does not hold yet; one that fails or is refused says why."""
    import torch

    from autopeft.methods import all_methods

    cuda = torch.cuda.is_available()
    held = {row["case"] for row in _rows(output)} if output.is_file() else set()
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(sorted(all_methods()), cuda=cuda):
            if case.name in held:
                continue
            row = _row(case, Path(folder), cuda=cuda)
            with output.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
            print(row["case"], row.get("allocated_error", row.get("skipped")), flush=True)


def _row(case: Case, folder: Path, *, cuda: bool) -> dict[str, Any]:
    from autopeft.errors import AutopeftError

    common = {
        "case": case.name, **asdict(case),
        "measure": "torch.cuda counters" if cuda else "storages followed on the CPU: not a GPU",
        "date": time.strftime("%Y-%m-%d"),
        "stack": {name: version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")},
    }  # fmt: skip
    try:
        return {**common, **_compared(case, folder, cuda=cuda)}
    except AutopeftError as error:
        return {**common, "skipped": " ".join(str(error).split())}


def _compared(case: Case, folder: Path, *, cuda: bool) -> dict[str, Any]:
    import torch

    from autopeft.estimation.practice import Practice
    from autopeft.estimation.trace import peak
    from autopeft.estimation.trace_memory import trace_memory
    from autopeft.estimation.tracing.setup import trace_setup
    from autopeft.testing.memory import followed, steps_of
    from benchmarks._memory_run import Measured, measured

    setup, device = _setup(case, folder, cuda=cuda), _device(cuda=cuda)
    started = time.perf_counter()
    practice = Practice(**case.practice)
    trace = trace_setup(setup, case.tokens, device, padded=case.padded, practice=practice)
    seconds = time.perf_counter() - started
    memory = trace_memory(trace, device)
    # Workspaces and loading are part of what torch's counters see, and of no CPU's storages.
    predicted = memory.peak_allocated_bytes if cuda else peak(steps_of(trace)).bytes
    row: dict[str, Any] = {
        "device": _device_name(cuda=cuda), "trace_seconds": round(seconds, 3), "notes": trace.notes,
        "peak_phase": memory.peak_phase, "predicted_allocated": predicted,
    }  # fmt: skip
    run = measured if cuda else followed
    try:
        found = run(setup, case.tokens, padded=case.padded, practice=practice)
    except torch.OutOfMemoryError:
        return {**row, "out_of_memory": True, "said_to_fit": memory.total_bytes <= device.total_memory_bytes}
    row |= {"measured_allocated": found.allocated_bytes, "allocated_error": predicted / found.allocated_bytes - 1}
    if isinstance(found, Measured):
        row |= {
            "predicted_reserved": memory.peak_reserved_bytes, "measured_reserved": found.reserved_bytes,
            "reserved_error": memory.peak_reserved_bytes / found.reserved_bytes - 1,
        }  # fmt: skip
    return row


def _setup(case: Case, folder: Path, *, cuda: bool) -> Any:
    import transformers

    from autopeft.methods import get_method
    from autopeft.profiling.model import read_model
    from autopeft.testing.cases import example
    from autopeft.values.candidates import Candidate, Setup
    from benchmarks._memory_run import save_model

    kind, task, *sizes = ARCHITECTURES[case.architecture]
    method = get_method(case.method)
    given = dict(method.seeds[0].parameters)
    if not cuda:
        given |= {key: 4 for key in ("rank", "bottleneck") if key in given}
    targets = "all-linear" if method.capabilities.takes_targets else "none"
    default = {"targets": targets, "batch_size": 3}
    candidate = Candidate(
        method=case.method, parameters=given, learning_rate=1e-4, **{**default, **case.candidate}
    )  # fmt: skip
    path = folder / case.architecture
    config = getattr(transformers, kind)(**sizes[cuda])
    if not path.is_dir():
        path.mkdir()
        config.save_pretrained(path)
        save_model(Setup(model=read_model(str(path), task), task=task, candidate=candidate), config, path)  # type: ignore[arg-type]
    setup = Setup(model=read_model(str(path), task), task=task, candidate=candidate)  # type: ignore[arg-type]
    if method.violations(setup):
        # Its first seed is for sizes that this model has not; the low end of what is searched suits any.
        candidate = replace(candidate, parameters=example(method).parameters)
    return replace(setup, candidate=candidate)


def _device(*, cuda: bool) -> Any:
    from autopeft.values.profiles import Device

    if not cuda:
        return Device(index=0, name="CPU", kind="cpu", total_memory_bytes=1 << 34, free_memory_bytes=1 << 34)
    import torch

    properties = torch.cuda.get_device_properties(0)
    return Device(
        index=0, name=properties.name, kind="cuda", total_memory_bytes=properties.total_memory,
        free_memory_bytes=properties.total_memory, compute_capability=f"{properties.major}.{properties.minor}",
    )  # fmt: skip


def _device_name(*, cuda: bool) -> str:
    if not cuda:
        return f"CPU ({platform.machine()})"
    import torch

    return str(torch.cuda.get_device_name(0))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def summary(path: Path) -> None:
    """Prints mean, median, 90th percentile and worst error, and how often "fits" was wrong in each direction."""
    rows = list(_rows(path))
    compared = [row for row in rows if "allocated_error" in row]
    full = [row for row in rows if "out_of_memory" in row]
    left_out = len(rows) - len(compared) - len(full)
    print(f"{len(compared)} cases compared ({compared[0]['measure']}), {left_out} skipped")
    if full:
        print(f"{len(full)} ran out of memory, {sum(row['said_to_fit'] for row in full)} of them said to fit")
    for what in ("allocated", "reserved"):
        errors = sorted(abs(row[f"{what}_error"]) for row in compared if f"{what}_error" in row)
        if errors:
            _print_errors(what, errors, compared)
    for row in sorted(compared, key=lambda row: -abs(row["allocated_error"]))[:5]:
        print(f"  {row['allocated_error']:+.3%}  {row['case']}  {' '.join(row['notes'])}")
    for row in rows:
        if "skipped" in row:
            print(f"  skipped  {row['case']}: {row['skipped'][:110]}")


def _print_errors(what: str, errors: list[float], rows: list[dict[str, Any]]) -> None:
    ninety = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
    print(
        f"{what}: mean {mean(errors):.4%}, median {median(errors):.4%}, 90th percentile {ninety:.4%}, "
        f"worst {errors[-1]:.3%}"
    )
    asked = [(row[f"predicted_{what}"], row[f"measured_{what}"], share) for row in rows for share in BUDGETS]
    unsafe = sum(guess <= share * real < real for guess, real, share in asked)
    timid = sum(real <= share * real < guess for guess, real, share in asked)
    print(f"  fits: {len(asked)} asked, said yes where it does not {unsafe}, no where it does {timid}")


def main() -> None:
    """Runs one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("run", "summary"))
    parser.add_argument("path", type=Path, nargs="?", default=Path(__file__).parent / "memory-cpu.jsonl")
    asked = parser.parse_args()
    {"run": run, "summary": summary}[asked.command](asked.path)


if __name__ == "__main__":
    main()
