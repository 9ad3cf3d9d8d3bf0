"""Predicted reserved memory against what others measured on a real card: peft's method comparison on an L40S.

    python benchmarks/memory_published.py

The rows in `profiles/evidence/peft_metamathqa.jsonl` state the most memory that torch's allocator held over a whole
run, evaluation by generation included (a batch of 50), on batches of 4 rows of at most 768 tokens. The prediction is
for training alone, on a batch of 4 rows of the longest length with padding among them, in mixed precision as autopeft
trains; peft's script computes adapters in float32. What evaluation takes at its peak is not in the prediction.
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

ROWS = ROOT / "profiles" / "evidence" / "peft_metamathqa.jsonl"


def main() -> None:
    """Prints a line for every row that can be expressed, and the errors over all of them."""
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        model = _model(Path(folder))
        for row in map(json.loads, ROWS.read_text(encoding="utf-8").splitlines()):
            if row.get("peak_kind") != "reserved" or row["status"] != "completed" or not row["method"]:
                continue
            found = _predicted(model, row)
            if isinstance(found, str):
                print(f"{row['original']}: left out: {found}")
                continue
            reserved, allocated = found
            errors.append(reserved / row["peak_bytes"] - 1)
            sizes = " ".join(f"{size / 2**30:6.2f}" for size in (row["peak_bytes"], reserved, allocated))
            print(f"{row['original']:<55} measured, reserved, allocated GiB: {sizes}  {errors[-1]:+.1%}", flush=True)
    sizes, low = sorted(abs(error) for error in errors), sum(error < 0 for error in errors)
    ninety = sizes[int(0.9 * len(sizes))]
    print(
        f"{len(sizes)} rows: mean {mean(sizes):.2%}, median {median(sizes):.2%}, 90th percentile {ninety:.2%}, "
        f"worst {sizes[-1]:.2%}; too low in {low}"
    )


def _model(folder: Path) -> Any:
    """Returns the profile of Llama-3.2-3B, from the sizes its published config states."""
    from transformers import LlamaConfig

    from autopeft.profiling.model import read_model

    LlamaConfig(
        vocab_size=128256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28, num_attention_heads=24,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=131072, tie_word_embeddings=True,
    ).save_pretrained(folder)  # fmt: skip
    return read_model(str(folder), "generation")


def _predicted(model: Any, row: dict[str, Any]) -> tuple[int, int] | str:
    from autopeft.estimation.trace_memory import trace_memory
    from autopeft.estimation.tracing.setup import UntraceableError, trace_setup
    from autopeft.methods import get_method
    from autopeft.values.candidates import Candidate, Setup
    from autopeft.values.profiles import Device

    card = Device(
        index=0, name="NVIDIA L40S", kind="cuda", total_memory_bytes=48 << 30, free_memory_bytes=48 << 30,
        compute_capability="8.9",
    )  # fmt: skip
    chosen = {"parameters": row.get("parameters", {}), "targets": row.get("targets", "none")}
    setup = Setup(
        model=model,
        task="generation",
        candidate=Candidate(
            **chosen,
            method=row["method"], dtype=row["dtype"],
            optimizer=row["optimizer"], learning_rate=row["learning_rate"], batch_size=row["batch_size"],
            quantization=row.get("quantization", "none"),
        ),
        total_steps=row["steps"],
    )  # fmt: skip
    method = get_method(row["method"])
    wrong = method.violations(setup)
    if wrong:
        return wrong[0]
    if method.trainable(setup) != row["trainable_parameters"]:
        return f"its settings cannot be expressed: it would train {method.trainable(setup):,} parameters"
    try:
        trace = trace_setup(setup, row["sequence_limit"], card, padded=True)
    except UntraceableError as error:
        return str(error)
    memory = trace_memory(trace, card)
    return memory.peak_reserved_bytes, memory.peak_allocated_bytes


if __name__ == "__main__":
    main()
