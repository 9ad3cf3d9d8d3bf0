"""Writes LitGPT's published tables as evidence.

    python benchmarks/import_litgpt.py QUALITY.csv RESOURCES.csv CONFIGS profiles/evidence

QUALITY.csv is the table of `config_hub/finetune/README.md`, RESOURCES.csv the tables of
`tutorials/resource-tables.md`, CONFIGS the folder `config_hub/finetune` of a checkout, whose files say what each row
of the first table was run with.
"""

import csv
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopeft.files import read_yaml, write_text
from autopeft.recommend.evidence import to_line
from autopeft.values.evidence import Run, RunModel, RunQuality, RunTask
from autopeft.values.names import ParameterValue

ADDRESS = "https://github.com/Lightning-AI/litgpt/blob/main/"
LICENCE = "Apache-2.0"
DATE = "2026-06-29"
"""Of the checkout that the tables and configs were read from; the runs are older and their days are not stated."""
RESOURCES_DATE = "2023-10-20"
GB = 10**9
"""The tables' gigabyte: the programs divide torch's count of allocated bytes by 1e9."""

TARGETS = {
    ("query", "value"): "qv",
    ("query", "key", "value", "projection"): "attention",
    ("query", "key", "value", "projection", "mlp"): "all-linear",
}
SCHEMES = {"": "none", "None": "none", "bnb.nf4": "nf4", "bnb.nf4-dq": "nf4-double"}
FOLDERS = {"gemma2b": "gemma2-2b"}
PARAMETERS_NOTE = "The model's size is the one in its name."


def minutes(text: str) -> float | None:
    """Returns a duration in seconds; None where there is none."""
    match = re.fullmatch(r"([\d.]+) min", text)
    return round(float(match[1]) * 60, 1) if match else None


def gigabytes(text: str) -> int | None:
    """Returns a size in bytes; None where there is none."""
    match = re.fullmatch(r"([\d.]+) GB", text)
    return round(float(match[1]) * GB) if match else None


def nominal(name: str) -> int | None:
    """Returns the parameters that a model's name says it has, such as 7 billion for ``llama-2-7b``."""
    match = re.search(r"(\d+(?:\.\d+)?)\s*[bB]\b", name)
    return round(float(match[1]) * 1e9) if match else None


def config_of(folder: Path, name: str) -> Mapping[str, Any]:
    """Returns the YAML that a row of the quality table names; folders are spelled in more than one way."""
    wanted, _, file = name.partition("/")
    wanted = FOLDERS.get(wanted, wanted).lower()
    (path,) = (path / file for path in folder.iterdir() if path.name.lower() == wanted)
    content: Mapping[str, Any] = read_yaml(path)
    return content


def adapted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a config says of LoRA: parameters, targets and what they leave out."""
    parts = tuple(
        part for part in ("query", "key", "value", "projection", "mlp") if config.get(f"lora_{part}")
    )  # fmt: skip
    parameters: dict[str, ParameterValue] = {
        "rank": config["lora_r"], "alpha": config["lora_alpha"], "dropout": config["lora_dropout"],
    }  # fmt: skip
    unmapped = {"lora_head": True} if config.get("lora_head") else {}
    return {"method": "lora", "parameters": parameters, "targets": TARGETS[parts], "unmapped": unmapped}


def quality_run(row: Mapping[str, str], folder: Path) -> Run:
    """Returns a row of the quality table."""
    config = config_of(folder, row["config"])
    model, file = row["config"].split("/")
    model = FOLDERS.get(model, model)
    lora = "lora_r" in config
    made: dict[str, Any] = adapted(config) if lora else {"method": "full", "targets": "none"}
    loss = row["val_loss"]
    failed = row["runtime"] == "OOM"
    scheme = SCHEMES[config.get("quantize") or ""]
    notes = ["LitGPT is a stack of its own: its memory tells trends.", f"{row['epochs']} epochs.", PARAMETERS_NOTE]
    if config["train"]["epochs"] != int(row["epochs"]):
        notes.append("The config that is published now has another number of epochs than the table.")
    return Run(
        name=f"{row['config']} {row['machine']}",
        setting=f"litgpt Alpaca2k {model} {row['epochs']} epochs",
        model=RunModel(name=model, kind="decoder", parameters=nominal(model)),
        task=RunTask(name="Alpaca2k", task="instruction", language="en"),
        original=f"litgpt finetune {file.removesuffix('.yaml')}",
        quantization=scheme, dtype="bfloat16", optimizer="adamw",
        learning_rate=config["optimizer"]["init_args"]["lr"], batch_size=config["train"]["global_batch_size"],
        sequence_limit=int(row["max_seq"]), seed=config["seed"], reference=lora and scheme == "none",
        status="out_of_memory" if failed else "completed", reason="out of memory" if failed else "",
        quality=None if failed else RunQuality(
            metric="validation_loss", value=float(loss), higher_is_better=False, share=False, others=mmlu(row["mmlu"]),
        ),
        peak_bytes=gigabytes(row["peak_mem"]), peak_kind="allocated" if gigabytes(row["peak_mem"]) else "",
        seconds=minutes(row["runtime"]), device=row["machine"].replace("x", " × ", 1), date=DATE,
        source=f"{ADDRESS}config_hub/finetune/README.md", licence=LICENCE, notes=tuple(notes), **made,
    )  # fmt: skip


def mmlu(text: str) -> dict[str, float]:
    """Returns the multitask score where there is one."""
    match = re.fullmatch(r"([\d.]+)%", text)
    return {"mmlu": round(float(match[1]) / 100, 6)} if match else {}


def resource_run(row: Mapping[str, str], method: str | None, original: str) -> Run | None:
    """Returns a row of the resource tables; None for one that was not run."""
    # Rows on several cards hold the cards before the peak.
    several = " x " in row["peak_memory"]
    device, peak = (row["peak_memory"], row["time_per_1k_iterations"]) if several else ("1 x A100", row["peak_memory"])
    time = row[""] if several else row["time_per_1k_iterations"]
    if peak == "N/A":
        return None
    failed = peak == "OOM"
    cards, rows = device.replace(" x ", " × "), int(row["micro_batch_size"])
    return Run(
        name=f"{original} {row['model']} {row['model_size']} {row['quantization']} {rows} {device} "
        f"{row['trainable_params']}",
        setting=f"litgpt resources {row['model']} {row['model_size']}",
        model=RunModel(
            name=f"{row['model']} {row['model_size']}", kind="decoder", parameters=nominal(row["model_size"])
        ),
        task=RunTask(name="Alpaca", task="instruction", language="en"),
        method=method, original=original, unmapped={"micro_batch_size": rows},
        quantization=SCHEMES[row["quantization"]], dtype="bfloat16", batch_size=128,
        trainable_parameters=int(row["trainable_params"].replace(",", "")),
        status="out_of_memory" if failed else "completed", reason="out of memory" if failed else "",
        peak_bytes=gigabytes(peak), peak_kind="" if failed else "allocated", seconds=minutes(time),
        versions={"torch": "2.1.0+cu121", "bitsandbytes": "0.41.1"}, device=f"{cards}-SXM4-40GB",
        date=RESOURCES_DATE, source=f"{ADDRESS}tutorials/resource-tables.md", licence=LICENCE,
        notes=("Seconds are of 1,000 micro-batches.", "Ranks and targets are not stated.", PARAMETERS_NOTE),
    )  # fmt: skip


def resource_runs(rows: list[dict[str, str]]) -> Iterator[Run]:
    """Yields the training rows of the resource tables; those of inference are left out."""
    first_adapter = {"573,888", "1,229,760"}
    for row in rows:
        if "Inference" in row["section"]:
            continue
        adapter, second = "Adapter" in row["section"], row["trainable_params"] not in first_adapter
        original = ("finetune_adapter_v2" if second else "finetune_adapter") if adapter else "finetune_lora"
        run = resource_run(
            row, {"finetune_lora": "lora", "finetune_adapter": "adaption_prompt"}.get(original), original
        )
        if run is not None:
            yield run


def table(path: str) -> list[dict[str, str]]:
    """Returns a CSV file's rows; what a row has beyond the header stands under the empty name."""
    with Path(path).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, restkey=""))
    return [{key: value[0] if isinstance(value, list) else value or "" for key, value in row.items()} for row in rows]


def distinct(runs: list[Run]) -> list[Run]:
    """Returns the runs with a number behind names that several have."""
    seen: dict[str, int] = {}
    made = []
    for run in runs:
        seen[run.name] = seen.get(run.name, 0) + 1
        made.append(run if seen[run.name] == 1 else replace(run, name=f"{run.name} #{seen[run.name]}"))
    return made


def main(quality: str, resources: str, configs: str, folder: str) -> None:
    """Writes both files."""
    runs = [quality_run(row, Path(configs)) for row in table(quality)]
    for name, found in (("litgpt", runs), ("litgpt_resources", list(resource_runs(table(resources))))):
        write_text(Path(folder) / f"{name}.jsonl", "".join(f"{to_line(run)}\n" for run in distinct(found)))
        failed = sum(run.status == "out_of_memory" for run in found)
        print(f"{name}: {len(found)} runs, {failed} of them out of memory")


if __name__ == "__main__":
    main(*sys.argv[1:])
