"""The tasks of the benchmarks of searches: model folders and data, fetched where they are missing."""

import json
from pathlib import Path

from autopeft.assets import fetch, get_asset
from autopeft.data import load_data
from autopeft.files import write_text
from autopeft.tuning.prepare import Request

TEST_SHARE = 0.4
"""Of the rows of a task where searches are compared: their scores differ by less than three hundred rows can tell, and
in a few minutes not even all of the others are trained on."""


def request(task: str, seed: int, work: Path) -> Request:
    """Returns what a search on a task is asked for; what is missing of model and data is fetched."""
    model, _, data = task.partition(":")
    return Request(model=str(_model(model, work)), data=str(_data(data, work)), seed=seed)


def held_out(data: str, seed: int, folder: Path) -> Path:
    """Returns the folder of a data set of which `TEST_SHARE` is for testing, another part for each seed."""
    found = load_data(data, seed=seed, fractions=((1 - TEST_SHARE) / 2, (1 - TEST_SHARE) / 2, TEST_SHARE))
    parts = {"train": [*found.rows["train"], *found.rows["validation"]], "test": found.rows["test"]}
    columns = found.spec.columns
    for name, rows in parts.items():
        lines = [json.dumps({column: row[role] for role, column in columns.items()}) for row in rows]
        write_text(folder / f"{name}.jsonl", "\n".join(lines) + "\n")
    return folder


def _model(name: str, work: Path) -> Path:
    """Returns a model folder: a path as it is, an asset, or an asset's first layers, as in ``smollm2-8``."""
    if Path(name).exists():
        return Path(name)
    if name.rpartition("-")[2].isdigit():
        from benchmarks.collect import cut_model

        return cut_model(name, work / "assets")
    return fetch(get_asset(name), work / "assets", print)


def _data(name: str, work: Path) -> Path:
    return Path(name) if Path(name).exists() else fetch(get_asset(name), work / "assets", print)
