"""Predicted against measured seconds per optimizer step, and the shares of a device's rates that fit best.

    python benchmarks/speed.py run --output benchmarks/speed-cpu.jsonl       # measures what is not there yet
    python benchmarks/speed.py run --device cuda --output benchmarks/speed-cuda.jsonl
    python benchmarks/speed.py report benchmarks/speed-cpu.jsonl             # errors, catalogue and measured rates
    python benchmarks/speed.py fit benchmarks/speed-cpu.jsonl                # for profiles/efficiency.yaml

Models are built from a config with random weights: speed does not depend on their values. A step is what
`autopeft.training` does: forward, backward, clipping, update. Each case is timed over several steps after two to
warm up. On a CPU the process's own processor time counts, with one thread (`OMP_NUM_THREADS=1`): what other programs
take of a shared machine is left out. A reference product is timed around the steps; the fastest step counts, with the
rates that the fastest reference says there were.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from autopeft.estimation.efficiency import Efficiency, efficiency
from autopeft.estimation.observations import stack_versions
from autopeft.estimation.question import Plan, Question, plan
from autopeft.estimation.roofline import StepTime, trace_seconds
from autopeft.estimation.tracing.setup import trace_setup
from autopeft.files import parse, plain
from autopeft.profiling.catalogue import find_card
from autopeft.values.profiles import Throughput

WARM_UP, TIMED = 2, 6
_SIDE = {"cpu": 512, "cuda": 4096}
_PRODUCTS = 8
_FITTED = ("matmul", "attention", "bandwidth", "dispatch_seconds")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One configuration to time; ``model`` is a key of `MODELS`."""

    model: str
    method: str = "lora"
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 4
    tokens: int = 128
    dtype: str = "float32"
    checkpointing: bool = False
    optimizer: str = "adamw"

    @property
    def key(self) -> str:
        """What tells the case from others in a file of results."""
        return json.dumps(asdict(self), sort_keys=True)


def _llama(layers: int, hidden: int, inner: int, heads: int, shared: int, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": layers,
        "hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": heads,
        "num_key_value_heads": shared, "vocab_size": vocabulary, "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    }  # fmt: skip


def _bert(layers: int, hidden: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "bert", "architectures": ["BertForMaskedLM"], "num_hidden_layers": layers,
        "hidden_size": hidden, "intermediate_size": 4 * hidden, "num_attention_heads": heads, "vocab_size": 30522,
    }  # fmt: skip


MODELS: dict[str, dict[str, Any]] = {
    "bert-4x256": _bert(4, 256, 4),
    "bert-6x384": _bert(6, 384, 12),
    "bert-4x768": _bert(4, 768, 12),
    "bert-12x768": _bert(12, 768, 12),
    "bert-24x1024": _bert(24, 1024, 16),
    "llama-4x512": _llama(4, 512, 1408, 8, 4, 32000),
    "llama-2x1024": _llama(2, 1024, 2816, 16, 4, 32000),
    "llama-16x2048": _llama(16, 2048, 8192, 32, 8, 128256),
    "llama-28x3072": _llama(28, 3072, 8192, 24, 8, 128256),
    "gpt2-4x384": {
        "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 4, "n_embd": 384, "n_head": 6,
        "vocab_size": 50257, "n_positions": 512,
    },
    "t5-4x384": {
        "model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "num_layers": 4, "d_model": 384,
        "d_kv": 64, "d_ff": 1024, "num_heads": 6, "vocab_size": 32128, "decoder_start_token_id": 0,
    },
}  # fmt: skip

CPU_CASES = (
    Case(model="bert-4x256", rows=16, tokens=64),
    Case(model="bert-4x256", method="full", rows=16, tokens=64),
    Case(model="bert-6x384", rows=8, tokens=128),
    Case(model="bert-6x384", method="ia3", rows=8, tokens=128),
    Case(model="bert-6x384", method="houlsby_adapter", rows=16, tokens=32),
    Case(model="bert-4x768", rows=4, tokens=128),
    Case(model="bert-4x768", method="full", rows=4, tokens=128),
    Case(model="llama-4x512", rows=2, tokens=128),
    Case(model="llama-4x512", rows=2, tokens=128, checkpointing=True),
    Case(model="llama-4x512", method="dora", settings={"rank": 8}, rows=1, tokens=256),
    Case(model="llama-2x1024", rows=2, tokens=128),
    Case(model="gpt2-4x384", rows=2, tokens=128),
    Case(model="t5-4x384", rows=4, tokens=64),
)
CUDA_CASES = tuple(
    Case(model=model, method=method, rows=rows, tokens=tokens, checkpointing=checkpointing, dtype="bfloat16")
    for model, method, rows, tokens, checkpointing in (
        ("bert-12x768", "lora", 32, 128, False),
        ("bert-12x768", "full", 32, 128, False),
        ("bert-24x1024", "lora", 16, 256, False),
        ("llama-16x2048", "lora", 1, 512, False),
        ("llama-16x2048", "lora", 4, 1024, False),
        ("llama-16x2048", "lora", 4, 1024, True),
        ("llama-16x2048", "full", 2, 1024, True),
        ("llama-16x2048", "dora", 2, 1024, False),
        ("llama-28x3072", "lora", 1, 1024, False),
        ("llama-28x3072", "lora", 4, 768, False),
        ("llama-28x3072", "lora", 4, 2048, True),
        ("llama-28x3072", "ia3", 4, 768, False),
    )
)


@cache
def _folder(model: str) -> str:
    folder = Path(tempfile.mkdtemp(prefix=f"{model}-"))
    (folder / "config.json").write_text(json.dumps(MODELS[model]))
    return str(folder)


def planned(case: Case) -> Plan:
    """Returns the case as a plan for this machine."""
    return plan(
        Question(
            model=_folder(case.model), method=case.method, settings=case.settings, dtype=case.dtype,
            optimizer=case.optimizer, batch_size=case.rows, sequence_length=case.tokens,
            gradient_checkpointing=case.checkpointing,
        )
    )  # fmt: skip


def timed_steps(case: Case, device: str) -> tuple[list[float], float]:
    """Returns the seconds of the timed steps of a case, and the fastest rate of the reference in TFLOP/s."""
    import torch

    step, side = _prepared(case, device), _SIDE[device]
    left = torch.randn(side, side, device=device)
    clock = Clock(device)
    seconds, rates = [], []
    for _ in range(WARM_UP + TIMED):
        seconds.append(clock.time(step))
        rates.append(2 * side**3 * _PRODUCTS / 1e12 / clock.time(lambda: _products(left)))
    return seconds[WARM_UP:], max(rates)


class Clock:
    """Times work: processor time on a CPU, the clock on the wall around all kernels on a GPU."""

    def __init__(self, device: str) -> None:
        import torch

        self._now = time.process_time if device == "cpu" else time.perf_counter
        self._wait: Callable[[], None] = (lambda: None) if device == "cpu" else torch.cuda.synchronize

    def time(self, work: Callable[[], None]) -> float:
        """Returns the seconds that a function takes."""
        self._wait()
        started = self._now()
        work()
        self._wait()
        return self._now() - started


def _prepared(case: Case, device: str) -> Callable[[], None]:
    """Returns one optimizer step of a case as a function."""
    import torch
    import transformers

    from autopeft.estimation.tracing.steps import Batch, inputs
    from autopeft.methods import get_method
    from autopeft.optimizers import get_optimizer
    from autopeft.profiling.config import load_config
    from autopeft.profiling.source import find_model
    from autopeft.tasks import get_task
    from autopeft.training.devices import autocast

    setup = planned(case).setup
    config = load_config(find_model(setup.model.source))
    config.pad_token_id = 0
    auto = getattr(transformers, get_task(setup.task).auto_class[setup.model.kind])
    base = auto.from_config(config, dtype=getattr(torch, case.dtype)).to(device)
    base.requires_grad_(requires_grad=False)
    if case.checkpointing:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    model = get_method(case.method).apply(base, setup).to(device).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = get_optimizer(case.optimizer).build(model, 1e-4, 0.01)
    given = inputs(setup, Batch(rows=case.rows, tokens=case.tokens, padded=False), device)

    def step() -> None:
        with autocast(device, setup.candidate.dtype):
            loss = model(**given).loss
        loss.backward()
        float(loss.detach())
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _products(left: Any) -> None:
    for _ in range(_PRODUCTS):
        left @ left


def run(output: Path, device: str) -> None:
    """Times the cases that the file lacks and appends a row for each."""
    from autopeft.profiling.hardware import probe_hardware
    from autopeft.profiling.measure import measure

    known = {row["key"] for row in read_rows(output)}
    found = probe_hardware().device
    rates = measure(found)
    for case in CPU_CASES if device == "cpu" else CUDA_CASES:
        if case.key in known:
            continue
        seconds, reference = timed_steps(case, device)
        row = {
            "key": case.key, "case": asdict(case), "device": found.name, "kind": found.kind,
            "seconds": min(seconds), "steps": seconds, "reference": reference, "throughput": plain(rates),
            "stack": stack_versions(), "threads": os.environ.get("OMP_NUM_THREADS", ""),
            "date": datetime.now(tz=UTC).date().isoformat(),
        }  # fmt: skip
        with output.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        print(f"{min(seconds):8.3f} s at {reference:.3f} TFLOP/s  {case.key}", flush=True)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file of results, none where it is not there yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _throughput(row: dict[str, Any]) -> Throughput:
    """Returns the rates there were during a row's step: those measured, scaled by what the reference had of them."""
    measured = parse(Throughput, row["throughput"], "a row")
    share = row["reference"] / measured.tflops["float32"]
    return Throughput(
        tflops={name: rate * share for name, rate in measured.tflops.items()},
        bandwidth_bytes_per_second=(measured.bandwidth_bytes_per_second or 0.0) * share,
        source="measured",
    )


@cache
def _traced(key: str) -> tuple[Plan, Any]:
    asked = planned(Case(**json.loads(key)))
    return asked, trace_setup(asked.setup, asked.tokens, asked.device, padded=False)


def predicted(row: dict[str, Any], throughput: Throughput, reached: Efficiency | None = None) -> StepTime:
    """Returns the predicted time of a row's case on a device of these rates."""
    asked, trace = _traced(row["key"])
    found = trace_seconds(trace.operations, replace(asked.device, throughput=throughput), reached=reached)
    if found is None:
        raise SystemExit("The rates of a row are incomplete.")
    return found


def report(path: Path) -> None:
    """Prints each row's prediction and the errors, from measured rates and from the catalogue where it has the card."""
    rows = read_rows(path)
    card = find_card(rows[0]["device"])
    sources: dict[str, Callable[[dict[str, Any]], Throughput]] = {"measured": _throughput}
    if card is not None:
        sheet = Throughput(
            tflops=card.tflops, bandwidth_bytes_per_second=card.bandwidth_bytes_per_second, source="catalogue"
        )
        sources["catalogue"] = lambda _row: sheet
    for name, rates in sources.items():
        errors = []
        print(f"\n{name} rates\n{'measured':>9} {'predicted':>9} {'error':>7}  case")
        for row in rows:
            found = predicted(row, rates(row))
            errors.append(abs(found.seconds / row["seconds"] - 1))
            said = {key: value for key, value in row["case"].items() if value not in ({}, False, "adamw")}
            print(f"{row['seconds']:9.3f} {found.seconds:9.3f} {found.seconds / row['seconds'] - 1:+7.1%}  {said}")
        print(f"median error {median(errors):.1%}, worst {max(errors):.1%}, {len(errors)} cases")


def fit(path: Path) -> None:
    """Prints the shares with the least error, from a grid refined twice, and the error on rows left out of it."""
    rows = read_rows(path)
    best = _best(rows, efficiency(rows[0]["kind"]))
    left_out = [_size(row, _best([other for other in rows if other is not row], best)) for row in rows]
    print(json.dumps({name: getattr(best, name) for name in _FITTED}, indent=2))
    print(f"mean error {_error(rows, best):.1%}; each row left out in turn: median {median(left_out):.1%}")


def _best(rows: Sequence[dict[str, Any]], start: Efficiency) -> Efficiency:
    best = start
    for width in (2.0, 1.4, 1.15):
        best = min(_around(best, width), key=lambda reached: _error(rows, reached))
    return best


def _around(center: Efficiency, width: float) -> Iterator[Efficiency]:
    steps = (1 / width, 1.0, width)
    for matmul, bandwidth, dispatch in product(steps, steps, steps):
        yield replace(
            center, matmul=min(1.0, center.matmul * matmul), attention=min(1.0, center.attention * matmul),
            bandwidth=min(1.0, center.bandwidth * bandwidth), dispatch_seconds=center.dispatch_seconds * dispatch,
        )  # fmt: skip


def _error(rows: Sequence[dict[str, Any]], reached: Efficiency) -> float:
    return sum(_size(row, reached) for row in rows) / len(rows)


def _size(row: dict[str, Any], reached: Efficiency) -> float:
    """Returns the size of the logarithm of predicted over measured time."""
    return abs(math.log(predicted(row, _throughput(row), reached).seconds / row["seconds"]))


def main() -> None:
    """Runs one of the three commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("--output", type=Path, required=True)
    running.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    for name in ("report", "fit"):
        commands.add_parser(name).add_argument("path", type=Path)
    asked = parser.parse_args()
    if asked.command == "run":
        run(asked.output, asked.device)
    else:
        {"report": report, "fit": fit}[asked.command](asked.path)


if __name__ == "__main__":
    main()
