"""What needs no fine-tuning: the untuned model's own score, and TF-IDF with logistic regression."""

import re
from collections.abc import Sequence
from typing import Any

from autopeft.data import Data, EncodedData, EncodedDataset, text_of
from autopeft.tasks import Predictions, TaskType
from autopeft.training.run import collate
from autopeft.training.scoring import Objective, predict, score, spread
from autopeft.training.worker import Worker
from autopeft.values.candidates import Candidate, rows_at_once
from autopeft.values.outcomes import Score

PROBE_ROWS = 2000
"""Training rows behind a frozen probe: enough for a linear model on a few hundred features."""

WORDS = (r"(?u)\b\w\w+\b", r"(?u)\b\w+\b")
"""What TF-IDF counts as a word: two letters at the least, and where no text has such a word, one, as residues have."""

_PROBED = frozenset({"classification", "pair-classification"})


def untuned(worker: Worker, data: EncodedData, objective: Objective, candidate: Candidate, seed: int) -> Score | None:
    """Returns the base model's score on the test split without fine-tuning.

    A model whose head is pretrained is asked as it is (zero-shot). For classification, whose head is fresh,
    a logistic regression is fitted on the frozen model's mean token embedding of up to `PROBE_ROWS` training
    rows. For the other tasks with a fresh head there is no such score, nor where those rows are all of one class, and
    None is returned.
    """
    if not worker.task.fresh_head:
        tokenizer = worker.base(candidate).tokenizer
        with worker.bare(candidate) as model:
            said = predict(
                model, data["test"], worker.task, tokenizer, dtype=candidate.dtype, device=worker.device,
                batch_size=rows_at_once(candidate, worker.device),
            )  # fmt: skip
        return score(said, objective, seed)
    if worker.task.name not in _PROBED:
        return None
    sample = spread(len(data["train"]), PROBE_ROWS)
    at_once = rows_at_once(candidate, worker.device)
    with worker.bare(candidate) as model:
        train = _embeddings(worker, model, data["train"], sample, at_once)
        test = _embeddings(worker, model, data["test"], range(len(data["test"])), at_once)
    known = _labels(data["train"], sample)
    return _linear(train, known, test, _labels(data["test"], range(len(data["test"]))), objective, seed)


def tfidf(data: Data, task: TaskType, objective: Objective, seed: int) -> Score | None:
    """Returns the test score of TF-IDF on words and word pairs with logistic regression.

    None for a task without classes, where the training rows have one class, or no text has a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if task.name not in _PROBED:
        return None
    texts = [text_of(row) for row in data.rows["train"]]
    pattern = next((words for words in WORDS if any(re.search(words, text) for text in texts)), None)
    if pattern is None:
        return None
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=pattern)
    train = vectorizer.fit_transform(texts)
    test = vectorizer.transform([text_of(row) for row in data.rows["test"]])
    order = {label: index for index, label in enumerate(data.spec.labels)}
    known, expected = ([order[str(row["label"])] for row in rows] for rows in (data.rows["train"], data.rows["test"]))
    return _linear(train, known, test, expected, objective, seed)


def _linear(
    train: Any, known: Sequence[int], test: Any, expected: Sequence[int], objective: Objective, seed: int
) -> Score | None:
    """Returns the score of a logistic regression, which gives a class that it has not seen no probability.

    None where all rows that it could learn from are of one class.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    if len(set(known)) < 2:
        return None
    model = LogisticRegression(max_iter=1000, random_state=seed).fit(train, known)
    probabilities = model.predict_proba(test)
    column = {label: index for index, label in enumerate(model.classes_)}
    chosen = np.array(
        [probabilities[row, column[label]] if label in column else 0.0 for row, label in enumerate(expected)]
    )
    said = Predictions(
        predicted=[int(label) for label in model.classes_[probabilities.argmax(axis=1)]],
        expected=list(expected),
        losses=(-np.log(np.maximum(chosen, 1e-12))).tolist(),
        weights=[1.0] * len(expected),
    )
    return score(said, objective, seed)


def _labels(dataset: EncodedDataset, rows: Sequence[int]) -> list[int]:
    return [int(dataset.rows[index]["labels"]) for index in rows]


def _embeddings(worker: Worker, model: Any, dataset: EncodedDataset, rows: Sequence[int], at_once: int) -> Any:
    """Returns the mean of the last hidden states over each row's tokens: an array of (rows, hidden)."""
    import numpy as np
    import torch

    parts: list[Any] = []
    states: list[Any] = []
    # The body is read on the way through the whole model, for parts of a sharded one do not compute by themselves.
    handle = model.base_model.register_forward_hook(lambda _body, _inputs, said: states.append(said.last_hidden_state))
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(rows), at_once):
                batch = collate(dataset, rows[start : start + at_once], worker.device)
                del batch["labels"]
                model(**batch)
                hidden = states.pop().float()
                mask = batch["attention_mask"].unsqueeze(-1)
                parts.append(((hidden * mask).sum(1) / mask.sum(1)).cpu().numpy())
    finally:
        handle.remove()
    return np.concatenate(parts)
