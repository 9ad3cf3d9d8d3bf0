"""A classifier's raw scores, row by row: what probabilities are made of."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.training.devices import autocast
from autopeft.training.run import collate
from autopeft.values.names import Dtype, Task

IGNORED = -100
BATCH = 32
WITH_CLASSES: frozenset[Task] = frozenset(
    {"classification", "pair-classification", "token-classification", "multiple-choice"}
)


def logits(model: Any, dataset: EncodedDataset, *, dtype: Dtype, device: str, batch_size: int = BATCH) -> list[Any]:
    """Returns one float32 array of raw scores per row, in the rows' order.

    Its shape is (outputs,) for a task that reads the row as a whole, and (words, tags) for tagged words.
    """
    import torch

    found: dict[int, Any] = {}
    model.eval()
    with torch.no_grad(), autocast(device, dtype):
        for places in _batches(dataset, batch_size):
            batch = collate(dataset, places, device)
            labels = batch.pop("labels")
            scores = model(**batch).logits.float()
            found.update(zip(places, _by_row(scores, labels), strict=True))
    return [found[index] for index in range(len(dataset))]


def _batches(dataset: EncodedDataset, batch_size: int) -> Iterator[list[int]]:
    """Yields places of rows of similar length, all with as many choices: others do not stack."""
    by_choices: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(dataset)), key=lambda index: dataset.lengths[index]):
        tokens = dataset.rows[index]["input_ids"]
        by_choices[len(tokens) if tokens and isinstance(tokens[0], list) else 1].append(index)
    for places in by_choices.values():
        for start in range(0, len(places), batch_size):
            yield places[start : start + batch_size]


def _by_row(scores: Any, labels: Any) -> list[Any]:
    if scores.dim() == 2 and labels.dim() < 2:
        return list(scores.cpu().numpy())
    # Soft prompts in front may have scores of their own: the row's own are the last ones.
    scores = scores[:, -labels.shape[1] :]
    return [row[mask].cpu().numpy() for row, mask in zip(scores, labels != IGNORED, strict=True)]


def targets(dataset: EncodedDataset) -> list[Any]:
    """Returns the true class ids of each row: an array of one, or of one per tagged word."""
    import numpy as np

    listed = [np.atleast_1d(np.asarray(row["labels"])) for row in dataset.rows]
    return [row[row != IGNORED] for row in listed]
