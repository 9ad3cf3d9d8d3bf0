"""Predicted reserved memory against published runs on a real card: peft's method comparison on an L40S.

    python benchmarks/published.py

The runs saw rows of at most 768 tokens, four to a batch, and gave cached memory back after each step; their peak over
5,000 steps is taken to be a batch of four rows of 768. It includes evaluation, which is not estimated here. Runs with
parameters that the catalogue has no names for are left out.
"""

import json
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import Any

from autopeft.api import estimate
from autopeft.errors import AutopeftError
from autopeft.resources import profiles

GIB = 1 << 30
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
    found = estimate(
        folder, method=row["method"], parameters=row.get("parameters", {}), targets=row.get("targets") or None,
        dtype=row["dtype"], batch_size=row["batch_size"], sequence_length=row["sequence_limit"], gpu=CARD,
    )  # fmt: skip
    return found.peak_reserved_bytes


def main() -> None:
    """Prints a row per run and the errors over all."""
    folder = tempfile.mkdtemp(prefix="llama-3b-")
    (Path(folder) / "config.json").write_text(json.dumps(LLAMA_3B))
    errors: list[float] = []
    refused: list[str] = []
    print("| run | measured | predicted | error |\n|---|---:|---:|---:|")
    for row in rows():
        try:
            bytes_ = predicted(row, folder)
        except AutopeftError as error:
            refused.append(f"{row['original']}: {str(error).splitlines()[-1].strip()}")
            continue
        errors.append(bytes_ / row["peak_bytes"] - 1)
        sizes = f"{row['peak_bytes'] / GIB:.1f} | {bytes_ / GIB:.1f}"
        print(f"| {row['original']} | {sizes} | {errors[-1]:+.1%} |", flush=True)
    off = [abs(error) for error in errors]
    print(f"\n{len(errors)} runs: mean {mean(off):.1%}, median {median(off):.1%}, worst {max(off):.1%}; ", end="")
    print(f"{sum(error < 0 for error in errors)} too low.")
    print("\n".join(("Left out:", *refused)) if refused else "")


if __name__ == "__main__":
    main()
