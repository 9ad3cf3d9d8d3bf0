"""Recordings kept on disk and in memory, so that a setup traced before costs neither torch nor a trace."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autopeft.environment import STACK
from autopeft.estimation.digest import tracing_digest
from autopeft.estimation.trace import KINDS
from autopeft.estimation.tracing.depth import DepthPlan, Run
from autopeft.estimation.tracing.recording import RecordedBlock, RecordedEvent, RecordedOperation, Recording
from autopeft.profiling.cache import cache_folder, save_text


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A recording with what unfolds it; a reason instead where the setup could not be traced."""

    recording: Recording | None
    plan: DepthPlan
    notes: tuple[str, ...] = ()


def key_of(parts: dict[str, Any]) -> str:
    """Returns the name of what is kept: what decides it, the versions of the stack and of this code."""
    content = {**parts, "stack": [_version(name) for name in STACK], "own": tracing_digest()}
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def path_of(key: str) -> Path:
    """Returns where a recording is kept."""
    return cache_folder() / "traces" / f"{key}.json"


def load(key: str) -> Kept | None:
    """Returns a kept recording; None where there is none, or none to trust."""
    try:
        content = json.loads(path_of(key).read_text(encoding="utf-8"))
        return _from_plain(content)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # not there, cut short or from elsewhere: it is made anew and written over


def save(key: str, kept: Kept) -> None:
    """Keeps a recording."""
    save_text(path_of(key), json.dumps(_plain(kept), separators=(",", ":")))


def _plain(kept: Kept) -> dict[str, Any]:
    content: dict[str, Any] = {
        "kept": kept.plan.kept,
        "runs": [[run.start, run.length, run.units, run.repeats] for run in kept.plan.runs],
        "notes": kept.notes,
    }
    recording = kept.recording
    if recording is not None:
        content |= {
            "blocks": [[b.bytes, KINDS.index(b.kind), b.pool == "host", b.layer] for b in recording.blocks],
            "events": [[e.block, int(e.allocates), e.layer] for e in recording.events],
            "phases": recording.phases,
            "operations": [
                [o.name, o.flops, o.fixed_bytes, o.row_bytes, o.dtype, o.phase, o.layer, o.count]
                for o in recording.operations
            ],
            "rows": recording.rows,
        }
    return content


def _from_plain(content: dict[str, Any]) -> Kept:
    plan = DepthPlan(
        kept=tuple(content["kept"]),
        runs=tuple(Run(start=a, length=b, units=c, repeats=d) for a, b, c, d in content["runs"]),
    )
    recording = None
    if "blocks" in content:
        recording = Recording(
            blocks=tuple(RecordedBlock(b, KINDS[k], "host" if h else "device", x) for b, k, h, x in content["blocks"]),
            events=tuple(RecordedEvent(b, bool(a), x) for b, a, x in content["events"]),
            phases=tuple((name, index) for name, index in content["phases"]),
            operations=tuple(RecordedOperation(*operation) for operation in content["operations"]),
            rows=content["rows"],
        )
    return Kept(recording=recording, plan=plan, notes=tuple(content["notes"]))
