"""Scores new rows with what a full training left: labels with probabilities, numbers, or text."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autopeft.data import EncodedDataset, encode_rows, input_rows, token_limit
from autopeft.errors import DataError
from autopeft.finetune.calibrate import probabilities
from autopeft.finetune.folder import TrainedFolder
from autopeft.finetune.generate import continuations
from autopeft.finetune.logits import IGNORED, WITH_CLASSES, logits
from autopeft.finetune.outcomes import Trained
from autopeft.tasks import Row, get_task
from autopeft.tuned import TunedConfig

MAX_NEW_TOKENS = 128


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What was predicted for one row.

    Attributes:
        row: its position in the source, from 0.
        value: a label, a list of tags, the right choice, a number, or text; None where the row lacks its input, and in
            place of the tag of a word that the model did not read: one without tokens, or beyond the limit.
        probability: calibrated, of the label or of each tag; None for tasks without classes.
        probabilities: of every label or choice, highest first; empty for tagged words and without classes.
        truncated: whether the row has more tokens than training read of one, and its end played no part.
    """

    row: int
    value: Any
    probability: Any = None
    probabilities: dict[str, float] = field(default_factory=dict)
    truncated: bool = False


def predict_rows(
    folder: str | Path,
    source: str | Path,
    *,
    batch_size: int = 32,
    max_new_tokens: int = MAX_NEW_TOKENS,
    device: str | None = None,
) -> tuple[Prediction, ...]:
    """Returns a prediction for every row of a source, in its order: train, validation and test where it has splits.

    Args:
        folder: the output of a full training.
        source: file, folder or hub name with the columns that the training read; labels are not needed.
        batch_size: rows per forward pass.
        max_new_tokens: longest text written, for tasks that write.
        device: torch's name for it; the first GPU that this process sees, or the CPU, by default.

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
    dataset, cut = _encoded(usable, tuned, tokenizer)
    if tuned.model.task in WITH_CLASSES or tuned.model.task == "regression":
        scores = logits(model, dataset, dtype=tuned.candidate.dtype, device=device, batch_size=batch_size)
        made = _from_scores(tuned, trained, usable, scores, tokenizer)
    else:
        made = [
            {"value": text} for text in _texts(tuned, model, tokenizer, dataset, batch_size, max_new_tokens, device)
        ]
    by_row = {
        index: Prediction(row=index, truncated=shortened, **answer)
        for index, answer, shortened in zip(known, made, cut, strict=True)
    }
    return tuple(by_row.get(index, Prediction(row=index, value=None)) for index in range(len(rows)))


def _encoded(rows: Sequence[Row], tuned: TunedConfig, tokenizer: Any) -> tuple[EncodedDataset, list[bool]]:
    """Returns the rows as tokens, and which of them were cut at the token limit."""
    kind = tuned.setup().model.kind
    each = [encode_rows([row], tuned.data, tokenizer, kind) for row in rows]
    whole = replace(
        each[0],
        rows=[row for one in each for row in one.rows],
        lengths=[length for one in each for length in one.lengths],
        truncated=sum(one.truncated for one in each),
    )
    return whole, [one.truncated > 0 for one in each]


def _texts(
    tuned: TunedConfig, model: Any, tokenizer: Any, dataset: EncodedDataset, batch_size: int, longest: int, device: str
) -> list[str]:
    return continuations(
        model, tokenizer, dataset, whole="text" in tuned.data.columns, seq2seq=tuned.model.task == "seq2seq",
        batch_size=batch_size, longest=longest, dtype=tuned.candidate.dtype, device=device,
    )  # fmt: skip


def _from_scores(
    tuned: TunedConfig, trained: Trained, rows: Sequence[Row], scores: Sequence[Any], tokenizer: Any
) -> list[dict[str, Any]]:
    if tuned.model.task == "regression":
        return [{"value": float(row[0])} for row in scores]
    temperature = trained.calibration.temperature if trained.calibration else 1.0
    chances = [probabilities(row, temperature) for row in scores]
    if tuned.model.task == "token-classification":
        limit = token_limit(tuned.data, tokenizer)
        return [
            _tagged(tuned.data.labels, one, _read_words(row, tokenizer, limit), len(row["tokens"]))
            for row, one in zip(rows, chances, strict=True)
        ]
    names = [row.get("choices", tuned.data.labels) for row in rows]
    return [_labelled(labels, row) for labels, row in zip(names, chances, strict=True)]


def _labelled(labels: Sequence[str], chances: Any) -> dict[str, Any]:
    order = sorted(range(len(labels)), key=lambda index: -chances[index])
    return {
        "value": labels[order[0]],
        "probability": float(chances[order[0]]),
        "probabilities": {labels[index]: float(chances[index]) for index in order},
    }


def _read_words(row: Row, tokenizer: Any, limit: int) -> list[int]:
    """Returns the positions of the words that the model reads: each stands for its tag where its tokens begin."""
    places = [str(place) for place in range(len(row["tokens"]))]
    encoded = get_task("token-classification").encode({**row, "tags": places}, tokenizer, places, limit)
    return [place for place in encoded["labels"] if place != IGNORED]


def _tagged(labels: Sequence[str], chances: Any, read: Sequence[int], words: int) -> dict[str, Any]:
    value: list[str | None] = [None] * words
    probability: list[float | None] = [None] * words
    for place, word in zip(read, chances, strict=True):
        value[place], probability[place] = labels[int(word.argmax())], float(word.max())
    return {"value": value, "probability": probability}
