"""What a search will cost is found out on machines, too, on which the first start does not fit as it was planned."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autopeft.data import EncodedDataset
from autopeft.errors import OutOfMemoryError
from autopeft.tuning.budget import measure_speed
from autopeft.tuning.cost import download_bytes, fitting_speed
from autopeft.values.candidates import Candidate

START = Candidate(method="ia3", learning_rate=1e-3, batch_size=16)
PREPARED: Any = SimpleNamespace(starts=(START,))


def measuring(most, asked):
    def measure(candidate):
        asked.append((candidate.batch_size, candidate.accumulation))
        if candidate.batch_size > most:
            raise OutOfMemoryError("CUDA out of memory")
        return 900.0

    return measure


def test_the_speed_is_that_of_as_many_rows_at_once_as_fit():
    """A first start that was estimated too low is measured with half its rows at once, and half of these."""
    asked: list[tuple[int, int]] = []
    assert fitting_speed(PREPARED, measuring(4, asked)) == 900.0
    assert asked == [(16, 1), (8, 2), (4, 4)]
    with pytest.raises(
        OutOfMemoryError, match=r"ia3 does not fit with one row at a time.*CUDA out of memory\nFree mem"
    ):
        fitting_speed(PREPARED, measuring(0, asked))


def test_memory_that_runs_out_while_the_speed_is_measured_is_told_apart():
    """torch's own error becomes the one that a search expects, with nothing begun that a resume would meet again."""

    class Full:
        def __enter__(self):
            raise torch.OutOfMemoryError("CUDA out of memory")

        def __exit__(self, *_):
            return None

    worker: Any = SimpleNamespace(attached=lambda *_: Full())
    rows = EncodedDataset(rows=[{}, {}], lengths=[5, 7], truncated=0, pad_values={})
    with pytest.raises(OutOfMemoryError, match="CUDA out of memory"):
        measure_speed(worker, START, rows)


def hub(monkeypatch, folder, *files, kind="safetensors"):
    """A hub model's weights on this machine: so many files of it."""
    ending = "bin" if kind == "pytorch" else kind
    for name in files:
        parts = {"weight_map": {"a": f"one.{ending}", "b": f"two.{ending}"}}
        (folder / name).write_text(json.dumps(parts))
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda _source, name: str(folder / name) if (folder / name).exists() else None,
    )
    prepared: Any = SimpleNamespace(model=SimpleNamespace(source="some/model", weight_bytes=99, weight_format=kind))
    return download_bytes(prepared)


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ([], 99),
        (["model.safetensors"], 0),
        (["model.safetensors.index.json"], 99),
        (["model.safetensors.index.json", "one.safetensors"], 99),
        (["model.safetensors.index.json", "one.safetensors", "two.safetensors"], 0),
    ],
)
def test_weights_in_parts_are_here_once_all_parts_are(monkeypatch, tmp_path, files, missing):
    """A large model's parts need no download when the cache holds each that the index names."""
    assert hub(monkeypatch, tmp_path, *files) == missing


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (["model.safetensors"], 99),
        (["pytorch_model.bin"], 0),
        (["pytorch_model.bin.index.json", "one.bin"], 99),
        (["pytorch_model.bin.index.json", "one.bin", "two.bin"], 0),
    ],
)
def test_pickled_weights_that_are_here_are_no_download(monkeypatch, tmp_path, files, missing):
    """A model that is loaded from torch's own files is looked for under their names."""
    assert hub(monkeypatch, tmp_path, *files, kind="pytorch") == missing
