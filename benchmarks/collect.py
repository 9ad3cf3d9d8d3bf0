"""Measures a designed sample of methods on real models and data, and adds each run to a JSONL file.

    python benchmarks/collect.py profiles/evidence/own_minilm.jsonl --seconds 3600 --only model=minilm
    python benchmarks/collect.py profiles/evidence/own_minilm.jsonl --only model=minilm --seed 1 --unsure 8

One process, one run after the other. What the file holds already is not run again, so a stopped collection goes on
where it stood. Every outcome is kept, also those that diverged, ran out of time or could not apply. The sample fills
the space of settings and candidates; with ``--unsure`` a setting's runs are those that would teach the surrogate most.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from autopeft.assets import fetch, get_asset
from autopeft.data import EncodedData, EncodedDataset, encode, load_data
from autopeft.errors import FileFormatError
from autopeft.files import append_text, write_bytes
from autopeft.methods import get_method
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.task import describe_task
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.recommend._evidence_trials import model_facts, task_facts, trial_run
from autopeft.recommend.evidence import parse_run, read_runs, to_line
from autopeft.recommend.surrogate import load
from autopeft.training.worker import Worker
from autopeft.tuning.budget import TrialSize
from autopeft.tuning.objective import objective
from autopeft.tuning.runner import TorchRunner
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.evidence import Run
from autopeft.values.outcomes import TrialOutcome
from autopeft.values.plans import Plan
from autopeft.values.profiles import ModelProfile
from benchmarks._sample import ALWAYS, METHODS, SampleSetting, candidates, settings
from benchmarks._unsure import described, least_known

MODELS = ("minilm-2", "minilm-4", "minilm-6", "smollm2-4", "smollm2-8", "smollm2-16", "smollm2-30")
DATA = (
    "vader-movies", "vader-tweets", "reuters-r8", "newsgroups", "spam-assassin", "tweet-entities", "verb-definitions"
)  # fmt: skip
"""None of those that `benchmarks.search` asks about: what is searched there, no run of the evidence has seen."""
TOKEN_LIMIT = 48
SCORED_ROWS = 200
READINGS = (0.4, 1.0)
METRIC = "validation_loss"
"""What runs are compared by: after so few steps accuracy often stands at the commonest class and says nothing."""
LONGEST_RUN = 240.0
LICENCE = "Apache-2.0"


def cut_model(name: str, cache: Path) -> Path:
    """Returns the folder of a model asset's first layers: its config says how many, its weights are shared."""
    asset, _, layers = name.rpartition("-")
    whole = fetch(get_asset(asset), cache, print)
    folder = cache / "cuts" / name
    if not folder.exists():
        partial = cache / "cuts" / f".{name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for path in whole.iterdir():
            if path.is_file() and path.name != "config.json":
                (partial / path.name).symlink_to(path.resolve())
        config = json.loads((whole / "config.json").read_text(encoding="utf-8"))
        (partial / "config.json").write_text(json.dumps({**config, "num_hidden_layers": int(layers)}), encoding="utf-8")
        partial.rename(folder)
    return folder


def fewer(dataset: EncodedDataset, rows: int) -> EncodedDataset:
    """Returns so many rows of a split, evenly spread."""
    places = [place * len(dataset) // rows for place in range(rows)] if rows < len(dataset) else range(len(dataset))
    return replace(
        dataset, rows=[dataset.rows[place] for place in places], lengths=[dataset.lengths[place] for place in places]
    )


class Bench:
    """One setting ready to run candidates: its worker holds the model."""

    def __init__(self, setting: SampleSetting, cache: Path, seed: int, device: str | None) -> None:
        self.setting, self.seed = setting, seed
        folder = cut_model(setting.model, cache)
        data = load_data(str(fetch(get_asset(setting.data), cache, print)), token_limit=TOKEN_LIMIT, seed=0)
        self.hardware = probe_hardware()
        self.profile: ModelProfile = read_model(str(folder), data.spec.task, max(1, len(data.spec.labels)))
        tokenizer = load_tokenizer(str(folder))
        encoded = encode(data, tokenizer, self.profile.kind)
        train = fewer(encoded["train"], setting.rows)
        whole = describe_task(data, tokenizer)
        self.profiled = replace(whole, rows={**whole.rows, "train": len(train)})
        self.data = EncodedData(spec=encoded.spec, splits={**encoded.splits, "train": train})
        self.objective = objective(data)
        size = TrialSize(tokens=setting.tokens, pruning_rows=SCORED_ROWS, scoring_rows=SCORED_ROWS)
        self.worker = Worker(self.profile, self.hardware, head_seed=seed)
        self.runner = TorchRunner(self.worker, [self.data], self.objective, size, cache / "states")
        self.model, self.task = model_facts(self.profile, setting.model), task_facts(self.profiled, setting.data)
        self.device = device or label(self.hardware.device.name)

    def run(self, candidate: Candidate, name: str, *, reference: bool) -> Run:
        """Returns a candidate's run, whatever comes of it."""
        outcome = with_loss(self.outcome(candidate))
        return trial_run(
            outcome, name=name, setting=self.setting.name, model=self.model, task=self.task,
            metric=METRIC, lower_is_better=True,
            scored_rows=min(SCORED_ROWS, len(self.data["validation"])), seed=self.seed, device=self.device,
            on_gpu=self.worker.device != "cpu", source="autopeft benchmarks/collect.py", licence=LICENCE,
            reference=reference, notes=(f"Rows are cut at {TOKEN_LIMIT} tokens.",),
        )  # fmt: skip

    def outcome(self, candidate: Candidate) -> TrialOutcome:
        """Returns what comes of a candidate: its training, or why it cannot apply."""
        if refused := self._refused(candidate):
            return TrialOutcome(number=0, status="infeasible", candidate=candidate, reason=" ".join(refused))
        plan = Plan(tokens=self.setting.tokens, seed=self.seed, readings=READINGS)
        return self.runner.run(0, candidate, plan, lambda _: False, time.monotonic() + LONGEST_RUN, None)

    def teaching(self, drawn: Sequence[Candidate], count: int) -> list[Candidate]:
        """Returns so many candidates: those that every setting has, and of the others what would teach most."""
        others = [one for one in drawn[ALWAYS:] if not self._refused(one)]
        seen = [described(one, self.profile, self.profiled, self.setting.tokens) for one in others]
        places = least_known(seen, count - ALWAYS, "per cent of the loss", load())
        return [*drawn[:ALWAYS], *(others[place] for place in places)]

    def _refused(self, candidate: Candidate) -> list[str]:
        setup = Setup(model=self.profile, task=self.profile.task, candidate=candidate)
        return list(get_method(candidate.method).violations(setup))


def with_loss(outcome: TrialOutcome) -> TrialOutcome:
    """Returns the outcome with the last reading's loss among its metrics, where it came to its end."""
    if outcome.status != "completed":
        return outcome
    return replace(outcome, metrics={**outcome.metrics, METRIC: outcome.curve[-1].validation_loss})


def label(device: str) -> str:
    """Returns the device's name with the threads that torch uses, since a shared machine's times depend on them."""
    import torch

    return f"{device}, {torch.get_num_threads()} threads, {platform.machine()}"


def planned(
    only: Mapping[str, str], count: int, per_setting: int, seed: int
) -> Iterator[tuple[SampleSetting, list[Candidate]]]:
    """Yields the settings that the filters leave, with candidates for each."""
    models = [name for name in MODELS if name.startswith(only.get("model", ""))]
    data = [name for name in DATA if name.startswith(only.get("data", ""))]
    methods = [name for name in METHODS if name.startswith(only.get("method", ""))]
    for index, setting in enumerate(settings(models, data, count, seed)):
        yield setting, list(candidates(index, int(setting.model.rpartition("-")[2]), per_setting, seed, methods))


def suited(setting: SampleSetting) -> bool:
    """Whether the model has a head for the data: entities go to the encoder, free text to the decoder."""
    decoder = setting.model.startswith("smollm2")
    return decoder if setting.data == "verb-definitions" else not (decoder and setting.data == "tweet-entities")


def collect(options: argparse.Namespace) -> None:
    """Runs what is not in the file yet until the time is over."""
    path: Path = options.file
    held = {run.name for run in held_runs(path)}
    deadline = time.monotonic() + options.seconds
    only = dict(pair.split("=", 1) for pair in options.only)
    count, seed, unsure = options.per_setting, options.seed, options.unsure
    for setting, drawn in planned(only, options.settings, ALWAYS + unsure * (count - ALWAYS), seed):
        stem = f"{setting.name} seed {seed}" + (" unsure" if unsure > 1 else "")
        missing = {place: name for place in range(count) if (name := f"{stem} {place}") not in held}
        if not missing or not suited(setting):
            continue
        bench = Bench(setting, options.cache, seed, options.device)
        chosen = bench.teaching(drawn, count) if unsure > 1 else drawn
        for place, name in missing.items():
            if time.monotonic() > deadline:
                return
            run = bench.run(chosen[place], name, reference=place == 0)
            keep(path, run)
            value = "" if run.quality is None else f"{run.quality.value:.3f}"
            print(f"{name}: {run.method} {run.status} {value} {run.seconds:.0f} s", flush=True)


def held_runs(path: Path) -> tuple[Run, ...]:
    """Returns the runs of a file that is being collected; a last line that a crash has cut short is taken off it."""
    if not path.exists():
        return ()
    content = path.read_bytes()
    whole, last = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
    if last and not _is_run(last):
        write_bytes(path, whole)
    return read_runs(path)


def _is_run(line: bytes) -> bool:
    try:
        parse_run(line.decode("utf-8"), "the last line")
    except (FileFormatError, UnicodeDecodeError):
        return False
    return True


def keep(path: Path, run: Run) -> None:
    """Adds a run to the file as one line."""
    append_text(path, f"{to_line(run)}\n")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Returns the parsed command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the JSONL file that runs are added to")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no run is begun after so long")
    parser.add_argument(
        "--only", action="append", default=[], metavar="KEY=START", help="model=, data= or method= and how it begins"
    )
    parser.add_argument("--settings", type=int, default=64, help="settings in the sample")
    parser.add_argument("--per-setting", type=int, default=8, help="runs in each, default recipe included")
    parser.add_argument(
        "--unsure", type=int, default=1, metavar="N", help="draw N times as many, and run what teaches most; [1]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample and of training")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where assets lie")
    parser.add_argument("--device", help="what to call the device in the rows")
    return parser.parse_args(given)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    collect(arguments())
