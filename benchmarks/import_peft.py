"""Writes the published runs of peft's method comparison as evidence.

    python benchmarks/import_peft.py RESULTS.jsonl HISTORY.csv profiles/evidence

RESULTS.jsonl holds the newest result of each experiment with its whole config; HISTORY.csv every distinct result in
the repository's history, without configs: those are taken from the newest result of the same name.
"""

import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopeft.files import write_text
from autopeft.recommend.evidence import to_line
from autopeft.values.evidence import Run, RunModel, RunPoint, RunQuality, RunTask
from autopeft.values.names import ParameterValue

SOURCE = "https://github.com/huggingface/peft/tree/main/method_comparison/MetaMathQA/results"
LICENCE = "Apache-2.0"
GSM8K_TEST_ROWS = 1319
MODEL = RunModel(
    name="meta-llama/Llama-3.2-3B", kind="decoder", model_type="llama", parameters=3_212_749_824, layers=28,
    hidden_size=3072, vocabulary_size=128_256,
)  # fmt: skip

TARGETS = {
    "q_proj,v_proj": "qv",
    "down_proj,gate_proj,up_proj": "mlp",
    "down_proj,gate_proj,k_proj,o_proj,q_proj,up_proj,v_proj": "all-linear",
}

LORA = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
NAMES: dict[str, tuple[str, dict[str, str]]] = {
    "ADALORA": ("adalora", {**LORA, "rank": "target_r", "initial_rank": "init_r"}),
    "ADAMSS": ("adamss", {"rank": "r", "subspaces": "num_subspaces"}),
    "ADAPTION_PROMPT": ("adaption_prompt", {"virtual_tokens": "adapter_len"}),
    "BEFT": ("beft", {}),
    "BOFT": ("boft", {"block_size": "boft_block_size"}),
    "C3A": ("c3a", {"block_size": "block_size"}),
    "DEFT": ("deft", {"rank": "r", "alpha": "alpha", "dropout": "deft_dropout", "projection": "decomposition_method"}),
    "DELORA": ("delora", {"rank": "r", "strength": "delora_lambda", "dropout": "module_dropout"}),
    "FOURIERFT": ("fourierft", {"frequencies": "n_frequency", "scaling": "scaling"}),
    "FROD": ("frod", {"rotations": "sparse_rate", "dropout": "frod_dropout"}),
    "GLORA": ("glora", {"rank": "r", "bias": "config_D_E"}),
    "GRALORA": (
        "gralora",
        {"rank": "r", "hybrid_rank": "hybrid_r", "blocks": "gralora_k", "alpha": "alpha", "dropout": "gralora_dropout"},
    ),
    "HIRA": ("hira", {"rank": "r", "dropout": "hira_dropout"}),
    "IA3": ("ia3", {}),
    "LILY": ("lily", {"rank": "r", "stride": "stride_A", "experts": "num_B", "scaling": "scaling"}),
    "LN_TUNING": ("ln_tuning", {}),
    "LOHA": ("loha", {"rank": "r", "alpha": "alpha"}),
    "LOKR": ("lokr", {"rank": "r", "alpha": "alpha", "decompose_factor": "decompose_factor"}),
    "LORA": ("lora", LORA),
    "MISS": ("miss", {"rank": "r", "variant": "init_weights"}),
    "OFT": ("oft", {}),
    "OSF": ("osf", {}),
    "PEANUT": ("peanut", {"rank": "r", "depth": "depth", "activation": "act_fn", "scaling": "scaling"}),
    "PREFIX_TUNING": ("prefix_tuning", {"virtual_tokens": "num_virtual_tokens"}),
    "PROMPT_TUNING": ("prompt_tuning", {"virtual_tokens": "num_virtual_tokens", "init": "prompt_tuning_init"}),
    "PSOFT": ("psoft", {"rank": "r", "dropout": "psoft_dropout"}),
    "P_TUNING": (
        "p_tuning",
        {
            "virtual_tokens": "num_virtual_tokens",
            "encoder": "encoder_reparameterization_type",
            "encoder_hidden": "encoder_hidden_size",
        },
    ),
    "PVERA": ("pvera", {"rank": "r", "d_initial": "d_initial", "dropout": "pvera_dropout"}),
    "RANDLORA": ("randlora", {"rank": "r", "alpha": "randlora_alpha", "dropout": "randlora_dropout"}),
    "ROAD": ("road", {"variant": "variant", "group_size": "group_size"}),
    "SHIRA": ("shira", {"rank": "r"}),
    "TINYLORA": (
        "tinylora",
        {"rank": "r", "coefficients": "u", "tying": "weight_tying", "dropout": "tinylora_dropout"},
    ),
    "TRAINABLE_TOKENS": ("trainable_tokens", {}),
    "UNILORA": ("unilora", {"rank": "r", "length": "theta_d_length", "dropout": "unilora_dropout"}),
    "VBLORA": (
        "vblora",
        {"rank": "r", "vectors": "num_vectors", "vector_length": "vector_length", "top_k": "topk"},
    ),
    "VERA": ("vera", {"rank": "r", "d_initial": "d_initial", "dropout": "vera_dropout"}),
    "WAVEFT": ("waveft", {"frequencies": "n_frequency", "scaling": "scaling"}),
}
"""By peft's type: the catalogue's name, and peft's name of each parameter by the catalogue's."""

SWITCHES = {"use_bdlora": "bdlora", "use_dora": "dora", "use_rslora": "rslora"}
STARTS = {"mica"}
"""Variants of peft's LoRA by the switch of its config, and those that are called as their start there."""

WORDS: dict[str, dict[Any, str]] = {
    "variant": {True: "shared", "bat": "block_affine", "mini": "mini"},
    "init": {"RANDOM": "random", "SAMPLE_VOCAB": "sampled_vocabulary"},
}
LEFT_OUT: dict[str, ParameterValue] = {"dropout": 0.0, "depth": 0, "hybrid_rank": 0, "tying": 0.0}
"""What a parameter is where the published config, which leaves zeros out, does not hold it."""

HIDDEN = {"peft_type", "use_bdlora", "target_modules", "qalora_group_size", "progressbar", "save_projection"}
"""Keys that say nothing of the method, beside those mapped."""


def method_of(row: Mapping[str, Any]) -> tuple[str | None, dict[str, str]]:
    """Returns the catalogue's method of a row, None where it has none, and the names of its parameters."""
    config = row["peft_config"] or {}
    if not config:
        return "full", {}
    name, names = NAMES[config["peft_type"]]
    if config.get("para") or config.get("config_A_B") == "vector":
        return None, names
    return (variant_of(config) if name == "lora" else name), names


def variant_of(config: Mapping[str, Any]) -> str | None:
    """Returns which method a config of peft's LoRA is, None for one that the catalogue has not."""
    start = config["init_lora_weights"]
    if start is not True:
        return start if start in STARTS else None
    return next((method for switch, method in SWITCHES.items() if config.get(switch)), "lora")


def special(config: Mapping[str, Any]) -> dict[str, ParameterValue]:
    """Returns the parameters that the catalogue counts in another way than peft."""
    kind = config.get("peft_type")
    if kind == "OFT":  # peft's r is the number of blocks, over inputs of the model's width
        return {"block_size": (MODEL.hidden_size or 0) // config["r"]}
    if kind == "OSF":  # peft's pattern is the rank that stays frozen
        return {"rank": (MODEL.hidden_size or 0) - config["rank_pattern"]["q_proj"]}
    if config.get("use_bdlora"):
        return {"blocks": config["use_bdlora"]["nblocks"]}
    if kind == "TRAINABLE_TOKENS":
        return {"first": min(config["token_indices"]), "count": len(config["token_indices"])}
    return {}


def scalar(value: Any) -> ParameterValue:
    """Returns a config's value as a scalar; lists and mappings as JSON."""
    return value if isinstance(value, bool | int | float | str) else json.dumps(value, sort_keys=True)


def told(value: Any) -> bool:
    """Whether a config's value says something."""
    return value is not None and value is not False and value not in ({}, [], "")


def parameters(row: Mapping[str, Any]) -> tuple[dict[str, ParameterValue], dict[str, ParameterValue]]:
    """Returns the parameters by the catalogue's names, and what is left by peft's own."""
    config = row["peft_config"] or {}
    method, names = method_of(row)
    mapped: dict[str, ParameterValue] = {}
    for ours, theirs in names.items():
        value = config.get(theirs, LEFT_OUT.get(ours))
        if value is not None:
            words = WORDS.get(ours, {})
            mapped[ours] = words.get(value, value)
    left = {
        key: scalar(value)
        for key, value in sorted(config.items())
        if key not in HIDDEN and key not in names.values() and told(value) and value is not True and value != method
    }
    return {**mapped, **special(config)}, left


def targets_of(config: Mapping[str, Any]) -> str:
    """Returns the targets as the catalogue spells them; ``none`` for methods that take none."""
    if config.get("peft_type") in ("ADAPTION_PROMPT", "LN_TUNING", "TRAINABLE_TOKENS"):
        return "none"
    names = config.get("target_modules")
    if not names:
        return "none"
    joined = ",".join(sorted(names))
    return TARGETS.get(joined, joined)


def quality_of(row: Mapping[str, Any]) -> RunQuality:
    """Returns the test accuracy with the validation curve."""
    curve = tuple(
        RunPoint(share=step / row["max_steps"], value=accuracy, train_loss=loss)
        for step, accuracy, loss in row["valid_accuracy_curve"]
    )
    return RunQuality(metric="accuracy", value=row["test_accuracy"], rows=GSM8K_TEST_ROWS, curve=curve)


def run_of(row: Mapping[str, Any]) -> Run:
    """Returns a published result as a run."""
    config = row["peft_config"] or {}
    method, _ = method_of(row)
    mapped, left = parameters(row)
    rows = row["max_steps"] * row["batch_size"]
    return Run(
        name=f"{row['experiment']}@{row['date']}",
        setting="peft MetaMathQA Llama-3.2-3B 2026-07",
        model=MODEL,
        task=RunTask(
            name="MetaMathQA, scored on GSM8K", task="reasoning", rows=rows,
            tokens_per_row=row["train_tokens"] / rows, language="en",
        ),
        method=method,
        original=row["experiment"],
        parameters=mapped if method is not None else {},
        unmapped=left if method is not None else {**mapped, **left},
        targets=targets_of(config),
        dtype=row["dtype"],
        optimizer={"AdamW": "adamw", "lora-fa": "lora_fa"}[row["optimizer"]],
        learning_rate=row["lr"],
        batch_size=row["batch_size"],
        sequence_limit=row["max_seq_length"],
        steps=row["max_steps"],
        tokens=row["train_tokens"],
        seed=row["seed"],
        reference=method == "lora" and row["optimizer"] == "AdamW",
        trainable_parameters=row["trainable_params"],
        status="completed",
        quality=quality_of(row),
        forgetting=row["forgetting_nats"],
        peak_bytes=row["reserved_bytes_max"],
        peak_kind="reserved",
        seconds=row["train_seconds"],
        versions={key.removesuffix("-version"): value for key, value in row["versions"].items() if value},
        device=row["gpu"],
        date=row["date"],
        source=SOURCE,
        licence=LICENCE,
        notes=("The peak holds the evaluation, whose batches are larger.",),
    )  # fmt: skip


def repeat_of(row: Mapping[str, str], newest: Mapping[str, Run]) -> Run:
    """Returns a result of the repository's history as a run."""
    known = newest.get(row["experiment"])
    if known is None:
        known = unknown_to_the_newest(row["experiment"], next(iter(newest.values())))
    return replace(
        known,
        name=f"{row['experiment']}@{row['date']}",
        setting=f"peft MetaMathQA Llama-3.2-3B {row['date'][:7]}",
        learning_rate=float(row["lr"]),
        quality=RunQuality(metric="accuracy", value=float(row["test_accuracy"]), rows=GSM8K_TEST_ROWS),
        forgetting=None,
        peak_bytes=int(row["reserved_bytes_max"]),
        seconds=float(row["train_seconds"]),
        versions={},
        date=row["date"],
        source=f"https://github.com/huggingface/peft/tree/{row['commit']}/method_comparison/MetaMathQA/results",
        notes=("The config is that of the newest result of the same name.", *known.notes),
    )


def unknown_to_the_newest(experiment: str, other: Run) -> Run:
    """Returns a run of an experiment that the newest results do not hold: its config is not known."""
    kind, _, rest = experiment.partition("/")
    method = "lokr" if kind == "lokr" else None
    return replace(
        other, method=method, original=experiment, parameters={"rank": 32} if method and "rank32" in rest else {},
        unmapped={}, targets="", optimizer="", reference=False, trainable_parameters=None,
    )  # fmt: skip


def main(results: str, history: str, folder: str) -> None:
    """Writes both files."""
    lines = Path(results).read_text(encoding="utf-8").splitlines()
    runs = [run_of(json.loads(line)) for line in lines]
    newest = {run.original: run for run in runs}
    with Path(history).open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["status"] == "success"]
    known = {run.name for run in runs}
    repeats = [repeat_of(row, newest) for row in rows if f"{row['experiment']}@{row['date']}" not in known]
    for name, found in (("peft_metamathqa", runs), ("peft_metamathqa_history", repeats)):
        write_text(Path(folder) / f"{name}.jsonl", "".join(f"{to_line(run)}\n" for run in found))
        print(f"{name}: {len(found)} runs, {sum(run.method is None for run in found)} of methods not in the catalogue")


if __name__ == "__main__":
    main(*sys.argv[1:])
