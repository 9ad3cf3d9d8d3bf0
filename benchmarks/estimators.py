"""autopeft beside four installable estimators: what each says the same runs take.

    python -m venv --system-site-packages /tmp/others
    /tmp/others/bin/pip install --no-deps fitcheck-llm==0.3.1 ftuneai==0.4.1 ml-memguard==0.5.0 qmemcalc==0.1.1
    PYTHONPATH=$(echo /tmp/others/lib/python3*/site-packages) python benchmarks/estimators.py

Every tool is told all that it can be told of a run; one that is not installed is left out. Figures are GiB of the card
in all: what each tool calls the total.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autopeft.api import estimate

GIB = 1 << 30
CARD = "h200"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run that every tool is asked about; LoRA of rank 16 on the attention, or full where ``rank`` is 0."""

    model: str
    rank: int = 16
    four_bit: bool = False
    rows: int = 1
    tokens: int = 1024
    checkpointing: bool = False


def _llama(layers: int, hidden: int, inner: int, heads: int, shared: int, vocabulary: int, *, tied: bool) -> Any:
    return {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": layers,
        "hidden_size": hidden, "intermediate_size": inner, "num_attention_heads": heads,
        "num_key_value_heads": shared, "head_dim": hidden // heads, "vocab_size": vocabulary,
        "max_position_embeddings": 8192, "tie_word_embeddings": tied, "torch_dtype": "bfloat16",
    }  # fmt: skip


MODELS = {
    "llama-1b": _llama(16, 2048, 8192, 32, 8, 128256, tied=True),
    "llama-3b": _llama(28, 3072, 8192, 24, 8, 128256, tied=True),
    "llama-7b": _llama(32, 4096, 11008, 32, 32, 32000, tied=False),
}
RUNS = (
    Run(model="llama-1b", tokens=512),
    Run(model="llama-1b", rows=4, tokens=1024),
    Run(model="llama-1b", rank=0, rows=2, checkpointing=True),
    Run(model="llama-3b", rows=4, tokens=768),
    Run(model="llama-3b", four_bit=True, checkpointing=True, tokens=2048),
    Run(model="llama-3b", four_bit=True, rows=4, tokens=1024),
    Run(model="llama-7b", rows=2, tokens=1024, checkpointing=True),
    Run(model="llama-7b", four_bit=True, tokens=4096, checkpointing=True),
)


def autopeft_total(run: Run, folder: str) -> float:
    """Returns reserved memory and context in GiB."""
    found = estimate(
        folder, method="lora" if run.rank else "full", parameters={"rank": run.rank} if run.rank else {},
        targets="attention" if run.rank else None, quantization="nf4-double" if run.four_bit else "none",
        dtype="bfloat16", batch_size=run.rows, sequence_length=run.tokens,
        gradient_checkpointing=run.checkpointing, gpu=CARD,
    )  # fmt: skip
    return found.total_bytes / GIB


def fitcheck_total(run: Run, folder: str) -> float:
    """Returns what fitcheck-llm calls the total, for a card with as much memory."""
    from fitcheck.config_parser import ModelConfig, _count_params, _parse_fields
    from fitcheck.estimator import TrainingConfig, estimate
    from fitcheck.gpu_db import GpuSpec

    raw = json.loads((Path(folder) / "config.json").read_text())
    parsed = _parse_fields(raw)
    known = {name: getattr(parsed, name) for name in ModelConfig.__dataclass_fields__ if hasattr(parsed, name)}
    model = ModelConfig(**{**known, "name": run.model, "num_params": _count_params(parsed)})
    training = TrainingConfig(
        quantization="nf4" if run.four_bit else "none", double_quant=run.four_bit, batch_size=run.rows,
        seq_len=run.tokens, lora_rank=run.rank or None, grad_checkpoint=run.checkpointing, flash_attn=True,
        lora_targets=["q_proj", "k_proj", "v_proj", "o_proj"],
    )  # fmt: skip
    names = GpuSpec.__dataclass_fields__
    card = {"name": "H200", "vram_gib": 141, "usable_mib": 141 * 1024, "vram_mib": 141 * 1024}
    return float(estimate(model, training, GpuSpec(**{k: v for k, v in card.items() if k in names})).total_mib) / 1024


def ftuneai_total(run: Run, folder: str) -> float:
    """Returns ftuneai's total, in its GB taken as GiB."""
    from ftuneai.core.memory import MemoryEstimator
    from ftuneai.core.models import FineTuneMethod, LoRATarget, ModelSpec, Quantization, TrainingConfig

    raw = json.loads((Path(folder) / "config.json").read_text())
    spec = ModelSpec(
        name=run.model, parameters=_parameters(folder), hidden_size=raw["hidden_size"],
        num_layers=raw["num_hidden_layers"], num_attention_heads=raw["num_attention_heads"],
        num_kv_heads=raw["num_key_value_heads"], intermediate_size=raw["intermediate_size"],
        vocab_size=raw["vocab_size"], max_seq_length=raw["max_position_embeddings"],
    )  # fmt: skip
    method = "full" if not run.rank else "qlora" if run.four_bit else "lora"
    config = TrainingConfig(
        model=run.model, method=FineTuneMethod(method), quantization=Quantization("4bit" if run.four_bit else "none"),
        batch_size=run.rows, seq_length=run.tokens, gradient_checkpointing=run.checkpointing,
        lora_rank=run.rank or 16, lora_target=LoRATarget("attention"), flash_attention=True,
    )  # fmt: skip
    return float(MemoryEstimator(spec, config).estimate().total_gb)


def memguard_total(run: Run, folder: str) -> float:
    """Returns ml-memguard's total."""
    from memory_guard.estimator import FinetuneMethod, ModelSpec, TrainSpec, estimate_training_memory

    raw = json.loads((Path(folder) / "config.json").read_text())
    model = ModelSpec(
        params=_parameters(folder), hidden_dim=raw["hidden_size"], num_heads=raw["num_attention_heads"],
        num_kv_heads=raw["num_key_value_heads"], num_layers=raw["num_hidden_layers"],
        intermediate_dim=raw["intermediate_size"], bits=4 if run.four_bit else 16,
    )  # fmt: skip
    method = FinetuneMethod.FULL if not run.rank else FinetuneMethod.QLORA if run.four_bit else FinetuneMethod.LORA
    training = TrainSpec(
        method=method, batch_size=run.rows, seq_length=run.tokens, lora_rank=run.rank or 8,
        lora_layers=raw["num_hidden_layers"], optimizer="adamw", grad_checkpoint=run.checkpointing,
        qlora_double_quant=run.four_bit,
    )  # fmt: skip
    return float(estimate_training_memory(model=model, train=training).total_mb) / 1024


def qmemcalc_total(run: Run, folder: str) -> float:
    """Returns qmemcalc's total."""
    from qmemcalc import estimate_memory

    found = estimate_memory(
        folder, run.rows, run.tokens, lora_r=run.rank, precision="bf16",
        quantization="4bit" if run.four_bit else "none", gradient_checkpointing=run.checkpointing,
    )  # fmt: skip
    return float(found["total_MB"]) / 1024


def _parameters(folder: str) -> int:
    from autopeft.profiling.model import read_model

    return read_model(folder, "generation").parameters


TOOLS: dict[str, tuple[str, Callable[[Run, str], float]]] = {
    "autopeft": ("autopeft", autopeft_total),
    "fitcheck-llm": ("fitcheck", fitcheck_total),
    "ftuneai": ("ftuneai", ftuneai_total),
    "ml-memguard": ("memory_guard", memguard_total),
    "qmemcalc": ("qmemcalc", qmemcalc_total),
}


def main() -> None:
    """Prints the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    tools = {name: total for name, (module, total) in TOOLS.items() if find_spec(module) is not None}
    print(f"| run | {' | '.join(tools)} |\n|---|{'---:|' * len(tools)}")
    for run in RUNS:
        folder = Path(tempfile.mkdtemp(prefix=run.model))
        (folder / "config.json").write_text(json.dumps(MODELS[run.model]))
        totals = [total(run, str(folder)) for total in tools.values()]
        print(f"| {_words(run)} | {' | '.join(f'{total:.1f}' for total in totals)} |", flush=True)


def _words(run: Run) -> str:
    how = f"LoRA {run.rank}" if run.rank else "full"
    weights = "NF4" if run.four_bit else "bf16"
    return f"{run.model}, {how}, {weights}, {run.rows}×{run.tokens}{', checkpointing' if run.checkpointing else ''}"


if __name__ == "__main__":
    main()
