"""Writes tables that authors publish beside their code as evidence.

    python benchmarks/import_tables.py profiles/evidence

Each figure was read from the page that its row names. What a page does not state stays out of the row, learning rates
above all; so do papers whose figures stand in plots alone, and tables whose plain LoRA trained at a rate so low that
nothing can be measured against it.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from autopeft.files import write_text
from autopeft.recommend.evidence import to_line
from autopeft.values.evidence import Run
from benchmarks._tables_encoders import (
    abuse_runs,
    code_runs,
    film_runs,
    finance_runs,
    prompt_runs,
    question_runs,
    summary_runs,
)
from benchmarks._tables_glue import adakron_runs, bias_runs, glue_runs, text_runs, tiny_runs
from benchmarks._tables_grids import domain_runs, rank_runs, rate_runs, shape_runs
from benchmarks._tables_llm import commonsense_runs, loftq_runs, math_runs, quantum_runs, subspace_runs, swift_runs

FILES: Mapping[str, Callable[[], Iterator[Run]]] = {
    "llm_adapters": math_runs, "dora_commonsense": commonsense_runs, "lora_glue": glue_runs, "lora_gpt2": text_runs,
    "subspace_commonsense": subspace_runs, "loftq_gsm8k": loftq_runs, "swift_qwen": swift_runs,
    "adakron_glue": adakron_runs, "bitfit_nlp_cub": bias_runs, "tinybert_glue": tiny_runs,
    "bertimbau_squad": question_runs, "codetune": code_runs, "my_ai_finance": finance_runs,
    "imdb_films": film_runs, "eff_tl": prompt_runs, "lora_vs_ia3": summary_runs, "domain_tweets": domain_runs,
    "lora_rank_scaling": rank_runs, "arch_peft": shape_runs, "indic_rates": rate_runs,
    "quantum_losses": quantum_runs, "telugu_abuse": abuse_runs,
}  # fmt: skip
"""What each file holds: the tables of one source."""


def main(folder: str) -> None:
    """Writes one file for each source."""
    for name, found in FILES.items():
        lines = [to_line(made) for made in found()]
        write_text(Path(folder) / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
        print(f"{name}: {len(lines)} runs")


if __name__ == "__main__":
    main(*sys.argv[1:])
