"""Measures what a probe buys: predictions before and after it, against full short trainings of the same candidates.

    python benchmarks/probe.py run benchmarks/probe.jsonl --data vader-movies,vader-amazon --seconds 120
    python benchmarks/probe.py replay

``replay`` trains nothing: in the settings of ``profiles/evidence/own_cpu.jsonl`` the readings at two fifths of the
tokens stand for the probe, and the surrogate has not seen the setting's data.

``run``: for each data set, MiniLM and the first suggestions of ``suggest``: they are probed for so long, then each
trains for ``--tokens``. A line holds what was predicted, what after the probe, and what came of it over the mean.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parent.parent))

from autopeft.assets import fetch, get_asset
from autopeft.data import encode, load_data
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.recommend.evidence import shipped_runs
from autopeft.recommend.observed import POINTS_PER_LOSS, combined
from autopeft.recommend.suggest import collect_profiles, recommend_for
from autopeft.recommend.surrogate import predict
from autopeft.training.scoring import held_out_loss
from autopeft.training.worker import Worker
from autopeft.tuning.probe import probe
from autopeft.values.candidates import Constraints, Suggestion
from autopeft.values.plans import Plan
from benchmarks._evaluate import settings
from benchmarks._gains import rows as gains
from benchmarks._mixed import fit

ROWS = 600
SEED = 7


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate: points it was expected to gain, before and after its probe, and what it gained over the mean."""

    data: str
    method: str
    before: float
    after: float
    gained: float


def replayed() -> list[Row]:
    """Returns the rows of the own short runs: expected without their data, corrected by their readings on the way."""
    rows = [row for row in gains(shipped_runs()) if row.run.quality is not None]
    found: list[Row] = []
    for places in settings(rows):
        own = [rows[place] for place in places if rows[place].run.quality and rows[place].run.quality.curve]
        if len(own) < len(places):
            continue
        fitted = fit([row for row in rows if row.trained_on != own[0].trained_on], "")
        before = predict([row.described for row in own], unit=own[0].unit, surrogate=fitted)
        first = [row.run.quality.curve[0] for row in own if row.run.quality]
        readings = [-100 * math.log(point.validation_loss or math.nan) for point in first]
        after = combined(before, readings, 1 / first[0].share)
        centre = mean(row.points for row in own)
        found += [
            Row(
                data=row.run.setting, method=row.method, before=old.points, after=new.points, gained=row.points - centre
            )
            for row, old, new in zip(own, before, after, strict=True)
        ]
    return found


def measured(model: str, data: str, name: str, seconds: float, tokens: int) -> list[Row]:
    """Returns the rows of one data set."""
    profiles = collect_profiles(
        model, data, task=None, rows=None, tokens_per_row=None, columns=None, gpu=None, memory_bytes=None
    )
    found = recommend_for(profiles, Constraints())
    before = {repr(s.candidate): _points(s) for s in found.candidates}
    after = [s for s in probe(profiles, data, found, seconds, print).candidates if s.probe is not None]
    losses = _trained(model, data, after, tokens, Worker(profiles.model, profiles.hardware, head_seed=0))
    gains = [-100 * POINTS_PER_LOSS * math.log(loss) for loss in losses]
    return [
        Row(data=name, method=s.candidate.method, before=before[repr(s.candidate)], after=_points(s),
            gained=gain - mean(gains))
        for s, gain in zip(after, gains, strict=True)
    ]  # fmt: skip


def _points(suggestion: Suggestion) -> float:
    return suggestion.prediction.points if suggestion.prediction else math.nan


def _trained(model: str, data: str, probed: Sequence[Suggestion], tokens: int, worker: Worker) -> list[float]:
    loaded = load_data(data)
    encoded = encode(loaded, load_tokenizer(model), worker.profile.kind)
    losses = []
    for suggestion in probed:
        with worker.attached(suggestion.candidate, Plan(tokens=tokens, seed=SEED), encoded["train"]) as run:
            run.advance(1.0)
            losses.append(
                held_out_loss(
                    run.model, encoded["validation"], worker.task, dtype=suggestion.candidate.dtype,
                    device=worker.device, rows=min(ROWS, len(encoded["validation"])),
                )
            )  # fmt: skip
        print(f"{suggestion.candidate.method}: {losses[-1]:.3f} after {tokens} tokens", flush=True)
    return losses


def summary(rows: Sequence[Row]) -> str:
    """Returns root mean squared errors of differences and the regret of the first, before and after, by data set."""
    lines = []
    for data in dict.fromkeys(row.data for row in rows):
        part = [row for row in rows if row.data == data]
        for when in ("before", "after"):
            said = [float(getattr(row, when)) for row in part]
            off = [value - mean(said) - row.gained for value, row in zip(said, part, strict=True)]
            chosen = part[max(range(len(said)), key=said.__getitem__)]
            regret = max(row.gained for row in part) - chosen.gained
            rmse = mean(value**2 for value in off) ** 0.5
            lines.append(f"{data}, {len(part)} methods, {when}: error {rmse:.2f}, regret {regret:.2f}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "replay"))
    parser.add_argument("output", type=Path, nargs="?", help="JSONL file to write")
    parser.add_argument("--data", default="vader-movies,vader-amazon", help="assets, separated by commas")
    parser.add_argument("--seconds", type=float, default=120, help="of each probe")
    parser.add_argument("--tokens", type=int, default=60_000, help="of each full training")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where fetched files lie")
    given = parser.parse_args(arguments)
    if given.what == "replay":
        return print(summary(replayed()))
    model = str(fetch(get_asset("minilm"), given.cache, print))
    rows: list[Row] = []
    for name in given.data.split(","):
        data = str(fetch(get_asset(name), given.cache, print))
        rows += measured(model, data, name, given.seconds, given.tokens)
    if given.output:
        given.output.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), encoding="utf-8")
    return print(summary(rows))


if __name__ == "__main__":
    main()
