"""Scores new rows with what a full training left: labels with probabilities, numbers, or text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopeft.data import EncodedDataset, encode_rows, input_rows
from autopeft.errors import DataError
from autopeft.finetune.calibrate import probabilities
from autopeft.finetune.folder import TrainedFolder
from autopeft.finetune.generate import continuations
from autopeft.finetune.logits import WITH_CLASSES, logits
from autopeft.finetune.outcomes import Trained
from autopeft.tasks import Row
from autopeft.tuned import TunedConfig

MAX_NEW_TOKENS = 128


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was predicted for one row.

    Attributes:
        row: its position in the source, from 0.
        value: a label, a list of tags, the right choice, a number, or text; None where the row lacks its input.
        probability: calibrated, of the label or of each tag; None for tasks without classes.
        probabilities: of every label or choice, highest first; empty for tagged words and without classes.
    """

    row: int
    value: Any
    probability: Any = None
    probabilities: dict[str, float] = field(default_factory=dict)


def predict_rows(
    folder: str | Path,
    source: str | Path,
    *,
    batch_size: int = 32,
    max_new_tokens: int = MAX_NEW_TOKENS,
    device: str | None = None,
) -> tuple[Prediction, ...]:
    """Returns a prediction for every row of a source, in its order, whatever splits it has.

    Args:
        folder: the output of a full training.
        source: file, folder or hub name with the columns that the training read; labels are not needed.
        batch_size: rows per forward pass.
        max_new_tokens: longest text written, for tasks that write.
        device: torch's name for it; the best this machine has by default.

    Raises:
        AutopeftError: no finished training, another base model, a missing column, or no row with its input.
    """
    import torch

    place = TrainedFolder(Path(folder))
    trained, tuned = place.finished(), TunedConfig.load(place.tuned)
    rows = input_rows(tuned.data, str(source))
    known = [index for index, row in enumerate(rows) if row is not None]
    if not known:
        raise DataError(f"No row of {source} has what the model reads: {', '.join(tuned.data.columns.values())}.")
    device = device or ("cuda:0" if torch.cuda.is_available() else "cpu")
    model, tokenizer = tuned.load_trained(place.path, device=device)
    usable = [row for row in rows if row is not None]
    dataset = encode_rows(usable, tuned.data, tokenizer, tuned.setup().model.kind)
    if tuned.model.task in WITH_CLASSES or tuned.model.task == "regression":
        scores = logits(model, dataset, dtype=tuned.candidate.dtype, device=device, batch_size=batch_size)
        made = _from_scores(tuned, trained, usable, scores)
    else:
        made = [
            {"value": text} for text in _texts(tuned, model, tokenizer, dataset, batch_size, max_new_tokens, device)
        ]
    by_row = dict(zip(known, made, strict=True))
    return tuple(Prediction(row=index, **by_row.get(index, {"value": None})) for index in range(len(rows)))


def _texts(
    tuned: TunedConfig, model: Any, tokenizer: Any, dataset: EncodedDataset, batch_size: int, longest: int, device: str
) -> list[str]:
    return continuations(
        model, tokenizer, dataset, whole="text" in tuned.data.columns, seq2seq=tuned.model.task == "seq2seq",
        batch_size=batch_size, longest=longest, dtype=tuned.candidate.dtype, device=device,
    )  # fmt: skip


def _from_scores(
    tuned: TunedConfig, trained: Trained, rows: Sequence[Row], scores: Sequence[Any]
) -> list[dict[str, Any]]:
    if tuned.model.task == "regression":
        return [{"value": float(row[0])} for row in scores]
    temperature = trained.calibration.temperature if trained.calibration else 1.0
    chances = [probabilities(row, temperature) for row in scores]
    if tuned.model.task == "token-classification":
        return [_tagged(tuned.data.labels, row) for row in chances]
    names = [row.get("choices", tuned.data.labels) for row in rows]
    return [_labelled(labels, row) for labels, row in zip(names, chances, strict=True)]


def _labelled(labels: Sequence[str], chances: Any) -> dict[str, Any]:
    order = sorted(range(len(labels)), key=lambda index: -chances[index])
    return {
        "value": labels[order[0]],
        "probability": float(chances[order[0]]),
        "probabilities": {labels[index]: float(chances[index]) for index in order},
    }


def _tagged(labels: Sequence[str], chances: Any) -> dict[str, Any]:
    return {
        "value": [labels[index] for index in chances.argmax(-1)],
        "probability": [float(word) for word in chances.max(-1)],
    }
