"""Metrics as functions of `Predictions`; fast on resampled rows, since bootstrap intervals call them often."""

import math
from collections import Counter
from functools import cache, lru_cache
from typing import Any

from autopeft.tasks._declaration import Predictions
from autopeft.tasks._spans import entity_spans, inside_begins
from autopeft.tasks._words import Words

_MOST_NATS = 100.0
"""Losses per token that are told apart: by chance, the largest vocabularies come to 13."""


def accuracy(predictions: Predictions) -> float:
    """Returns the share of rows whose prediction is the truth."""
    pairs = zip(predictions.predicted, predictions.expected, strict=True)
    return sum(int(predicted == expected) for predicted, expected in pairs) / len(predictions.expected)


def macro_f1(predictions: Predictions) -> float:
    """Returns the mean of F1 over the labels that occur as prediction or truth."""
    hits, predicted, expected = _counts(predictions)
    labels = predicted.keys() | expected.keys()
    return sum(2 * hits[label] / (predicted[label] + expected[label]) for label in labels) / len(labels)


def mcc(predictions: Predictions) -> float:
    """Returns Matthews' correlation, from −1 to 1, in its form for several classes; 0 where it is undefined.

    Source: Gorodkin, *Comparing two K-category assignments by a K-category correlation coefficient* (2004).
    """
    hits, predicted, expected = _counts(predictions)
    rows, correct = len(predictions.expected), sum(hits.values())
    covariance = correct * rows - sum(predicted[label] * expected[label] for label in expected)
    spread = (rows**2 - sum(n**2 for n in predicted.values())) * (rows**2 - sum(n**2 for n in expected.values()))
    return covariance / math.sqrt(spread) if spread else 0.0


def _counts(predictions: Predictions) -> tuple[Counter[Any], Counter[Any], Counter[Any]]:
    pairs = zip(predictions.predicted, predictions.expected, strict=True)
    hits = Counter(expected for predicted, expected in pairs if predicted == expected)
    return hits, Counter(predictions.predicted), Counter(predictions.expected)


def r2(predictions: Predictions) -> float:
    """Returns the share of the truths' variance that is explained; 0 where the truths do not vary."""
    mean = sum(predictions.expected) / len(predictions.expected)
    total = sum((truth - mean) ** 2 for truth in predictions.expected)
    pairs = zip(predictions.predicted, predictions.expected, strict=True)
    residual = sum((truth - guess) ** 2 for guess, truth in pairs)
    return float(1 - residual / total) if total else 0.0


def mae(predictions: Predictions) -> float:
    """Returns the mean absolute error; lower is better."""
    pairs = zip(predictions.predicted, predictions.expected, strict=True)
    return float(sum(abs(truth - guess) for guess, truth in pairs) / len(predictions.expected))


def pearson(predictions: Predictions) -> float:
    """Returns the linear correlation; 0 where one side does not vary."""
    import numpy as np

    return _correlation(np.asarray(predictions.predicted, float), np.asarray(predictions.expected, float))


def spearman(predictions: Predictions) -> float:
    """Returns the rank correlation, ties at their mean rank; 0 where one side does not vary."""
    from scipy.stats import rankdata

    return _correlation(rankdata(predictions.predicted), rankdata(predictions.expected))


def _correlation(left: Any, right: Any) -> float:
    left, right = left - left.mean(), right - right.mean()
    spread = math.sqrt(float((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / spread) if spread else 0.0


def perplexity(predictions: Predictions) -> float:
    """Returns exp of the mean loss per target token; lower is better.

    Prompt and padding tokens carry no weight, so only completion tokens count. Of a loss beyond all sense it is that of
    the largest one told apart, so that results with it can be written.
    """
    total = sum(loss * weight for loss, weight in zip(predictions.losses, predictions.weights, strict=True))
    mean = total / sum(predictions.weights)
    return math.exp(mean if mean < _MOST_NATS else _MOST_NATS)  # a NaN is no better than the worst


def exact_match(predictions: Predictions) -> float:
    """Returns the share of rows whose text is the expected one, white space at the ends aside."""
    pairs = zip(predictions.predicted, predictions.expected, strict=True)
    return sum(int(predicted.strip() == expected.strip()) for predicted, expected in pairs) / len(predictions.expected)


def rouge_l(predictions: Predictions) -> float:
    """Returns the mean F1 of ROUGE-L over the rows, without stemming (Lin 2004).

    Words of any script count; where no space divides them, letters do.
    """
    pairs = zip(predictions.predicted, predictions.expected, strict=True)
    return sum(_rouge(predicted, expected) for predicted, expected in pairs) / len(predictions.expected)


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=Words())


@lru_cache(maxsize=65536)
def _rouge(predicted: str, expected: str) -> float:
    return float(_scorer().score(expected, predicted)["rougeL"].fmeasure)


def seqeval_f1(predictions: Predictions) -> float:
    """Returns the micro F1 over strict entity spans: type, start and end must all agree.

    It equals seqeval's strict mode under IOB2; 0 where neither side has a span. The truths tell whether entities begin
    with ``I-``, as in IOB1.
    """
    inside = inside_begins(predictions.expected)
    hits = predicted = expected = 0
    for guess, truth in zip(predictions.predicted, predictions.expected, strict=True):
        guessed, true = entity_spans(tuple(guess), inside=inside), entity_spans(tuple(truth), inside=inside)
        hits += len(guessed & true)
        predicted += len(guessed)
        expected += len(true)
    return 2 * hits / (predicted + expected) if predicted + expected else 0.0


def tag_accuracy(predictions: Predictions) -> float:
    """Returns the share of tokens that got their tag."""
    pairs = [
        (guess, truth)
        for guessed, true in zip(predictions.predicted, predictions.expected, strict=True)
        for guess, truth in zip(guessed, true, strict=True)
    ]
    return sum(int(guess == truth) for guess, truth in pairs) / len(pairs) if pairs else 0.0
