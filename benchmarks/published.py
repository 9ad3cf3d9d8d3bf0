"""Predicted reserved memory against published runs on a real card: peft's method comparison on an L40S.

    python benchmarks/published.py

The comparison's own code says what ran (method_comparison/MetaMathQA in peft's repository): no autocast (``use_amp``
is false), and four rows to a batch, alike in all runs because the seed is, filtered to 1,300 characters and so shorter
than the 768 tokens they are cut to. How long the longest batch was is not published. It is the one number that is taken
from the runs: `TOKENS`, from the plain LoRA run of rank 32 alone, which is left out of the errors. Runs with parameters
that the catalogue has no names for are left out.
"""

import json
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import Any

from autopeft.errors import AutopeftError
from autopeft.estimation.practice import Practice
from autopeft.estimation.question import Question, plan
from autopeft.estimation.trace_memory import trace_memory
from autopeft.estimation.tracing.setup import trace_setup
from autopeft.resources import profiles

GIB = 1 << 30
PRACTICE = Practice(autocast=False)
"""The runs were not under autocast: each weight computes in its own dtype."""

REFERENCE = "lora/llama-3.2-3B-rank32"
OPTIMIZER = "adamw_foreach"
"""The runs build `torch.optim.AdamW` with nothing else said."""

TOKENS = 704
"""Length of the longest batch: the one at which the reference's prediction is nearest (−0.3 %)."""

CARD = "l40s"
LLAMA_3B = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 28, "hidden_size": 3072,
    "intermediate_size": 8192, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Returns the completed runs that are fully described, each configuration once."""
    lines = (profiles() / "evidence" / "peft_metamathqa.jsonl").read_text(encoding="utf-8").splitlines()
    found = {row["original"]: row for row in map(json.loads, lines) if _described(row)}
    return [found[name] for name in sorted(found)]


def _described(row: dict[str, Any]) -> bool:
    return bool(row.get("method") and row.get("peak_bytes") and row["optimizer"] == "adamw" and not row.get("unmapped"))


def predicted(row: dict[str, Any], folder: str) -> int:
    """Returns the reserved bytes of a run's longest batch.

    Raises:
        AutopeftError: the run is not one that the catalogue can plan.
    """
    given = {**row.get("parameters", {}), **({"targets": row["targets"]} if row.get("targets") else {})}
    asked = plan(
        Question(
            model=folder, method=row["method"], settings=given, dtype=row["dtype"], batch_size=row["batch_size"],
            sequence_length=TOKENS, gpu=CARD, optimizer=OPTIMIZER,
        )
    )  # fmt: skip
    trace = trace_setup(asked.setup, asked.tokens, asked.device, practice=PRACTICE)
    return trace_memory(trace, asked.device).peak_reserved_bytes


def main() -> None:
    """Prints a row per run and the errors over all."""
    folder = tempfile.mkdtemp(prefix="llama-3b-")
    (Path(folder) / "config.json").write_text(json.dumps(LLAMA_3B))
    errors: list[float] = []  # the reference's left out
    refused: list[str] = []
    print("| run | measured | predicted | error |\n|---|---:|---:|---:|")
    for row in rows():
        try:
            bytes_ = predicted(row, folder)
        except AutopeftError as refusal:
            refused.append(f"{row['original']}: {str(refusal).splitlines()[-1].strip()}")
            continue
        error = bytes_ / row["peak_bytes"] - 1
        if row["original"] != REFERENCE:
            errors.append(error)
        sizes = f"{row['peak_bytes'] / GIB:.1f} | {bytes_ / GIB:.1f}"
        print(f"| {row['original']} | {sizes} | {error:+.1%} |", flush=True)
    off = [abs(error) for error in errors]
    print(f"\n{len(errors)} runs: mean {mean(off):.1%}, median {median(off):.1%}, worst {max(off):.1%}; ", end="")
    print(f"{sum(error < 0 for error in errors)} too low.")
    print("\n".join(("Left out:", *refused)) if refused else "")


if __name__ == "__main__":
    main()
