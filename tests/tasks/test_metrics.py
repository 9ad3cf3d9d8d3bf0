"""Metrics against the reference implementations they stand for."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.files import to_json
from autopeft.tasks import Predictions, all_tasks, get_task
from autopeft.tasks._metrics import (
    accuracy,
    macro_f1,
    mae,
    mcc,
    pearson,
    perplexity,
    r2,
    rouge_l,
    seqeval_f1,
    spearman,
)
from autopeft.tasks._spans import entity_spans
from autopeft.tasks.reasoning import final_answer
from autopeft.values.names import TASKS


def said(predicted, expected, losses=None, weights=None):
    rows = len(expected)
    return Predictions(
        predicted=predicted, expected=expected, losses=losses or [0.0] * rows, weights=weights or [1.0] * rows
    )


labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(deadline=None)  # the first call imports the reference
@given(labels)
def test_class_metrics_are_scikit_learns(pairs):
    """Accuracy, macro-F1 and MCC mean what everybody's do."""
    from sklearn import metrics

    predicted, expected = [p for p, _ in pairs], [e for _, e in pairs]
    rows = said(predicted, expected)
    assert accuracy(rows) == pytest.approx(metrics.accuracy_score(expected, predicted))
    assert macro_f1(rows) == pytest.approx(metrics.f1_score(expected, predicted, average="macro"))
    assert mcc(rows) == pytest.approx(metrics.matthews_corrcoef(expected, predicted))


numbers = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=30)


@settings(deadline=None)  # the first call imports the reference
@given(numbers.filter(lambda pairs: min(len({p[0] for p in pairs}), len({p[1] for p in pairs})) > 1))
def test_number_metrics_are_scipys(pairs):
    """Correlations, R² and the mean error agree with scipy and scikit-learn, ties included."""
    from scipy import stats
    from sklearn import metrics

    predicted, expected = [float(p) for p, _ in pairs], [float(e) for _, e in pairs]
    rows = said(predicted, expected)
    assert spearman(rows) == pytest.approx(stats.spearmanr(predicted, expected).statistic)
    assert pearson(rows) == pytest.approx(stats.pearsonr(predicted, expected).statistic)
    assert r2(rows) == pytest.approx(metrics.r2_score(expected, predicted))
    assert mae(rows) == pytest.approx(metrics.mean_absolute_error(expected, predicted))


tag = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


def opens(tags):
    """Whether an entity of a row begins with B- where nothing of its type stands before it."""
    return any(tag[0] == "B" and tag[2:] != before[2:] for before, tag in pairwise(["O", *tags]))


@settings(deadline=None)  # the first call imports the reference
@given(st.lists(st.lists(st.tuples(tag, tag), min_size=1, max_size=8), min_size=1, max_size=5))
def test_span_f1_is_seqevals_strict_mode(rows):
    """A span counts only when type, start and end agree, as in seqeval's strict mode under IOB2."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    predicted, expected = [[p for p, _ in row] for row in rows], [[e for _, e in row] for row in rows]
    if any(opens(row) for row in expected):
        reference = f1_score(expected, predicted, mode="strict", scheme=IOB2, zero_division=0)
        assert seqeval_f1(said(predicted, expected)) == pytest.approx(reference)


def test_tags_without_prefix_are_runs():
    """Where tags carry no prefix, a run of one tag is a span."""
    assert seqeval_f1(said([["PER", "PER", "O"]], [["PER", "PER", "O"]])) == 1.0
    assert seqeval_f1(said([["PER", "O", "O"]], [["PER", "PER", "O"]])) == 0.0


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        (["B-X", "M-X", "E-X", "S-X"], {("X", 0, 3), ("X", 3, 4)}),
        (["B-X", "E-X", "M-X"], {("X", 0, 2)}),
        (["S-X", "I-X"], {("X", 0, 1)}),
        (["B-X", "I-X", "L-X", "L-X", "U-X", "U-X"], {("X", 0, 3), ("X", 4, 5), ("X", 5, 6)}),
        (["M-X", "E-X", "O"], set()),
    ],
)
def test_a_span_ends_where_its_scheme_ends_it(tags, spans):
    """BMES and BILOU mark the last word of an entity: nothing goes on behind it, and M goes on before it."""
    assert entity_spans(tuple(tags)) == spans


def test_entities_that_begin_inside_are_found():
    """Under IOB1 an entity begins with I-, and with B- only right behind another of its type."""
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB1

    truth = [["I-X", "I-X", "O", "I-Y"], ["I-X", "B-X", "I-X", "O"], ["O"]]
    guess = [["I-X", "I-X", "O", "I-X"], ["I-X", "I-X", "I-X", "O"], ["I-Y"]]
    assert seqeval_f1(said(truth, truth)) == 1.0
    assert seqeval_f1(said(guess, truth)) == pytest.approx(f1_score(truth, guess, mode="strict", scheme=IOB1))
    assert seqeval_f1(said(guess, truth)) == pytest.approx(2 * 1 / (4 + 4))


def test_a_slip_in_the_truths_changes_no_scheme():
    """Where entities begin with B-, one stray I- among the truths leaves the predictions' stray ones no spans."""
    truth = [["B-X", "I-X", "O"], ["I-X", "O", "O"]]
    guess = [["B-X", "I-X", "O"], ["O", "O", "I-X"]]
    assert seqeval_f1(said(guess, truth)) == 1.0


def test_perplexity_weighs_rows_by_their_target_tokens():
    """Perplexity is over tokens, not over rows."""
    assert perplexity(said([], ["a", "b"], [1.0, 2.0], [1.0, 3.0])) == pytest.approx(math.exp(7 / 4))


@pytest.mark.parametrize("loss", [5000.0, math.inf, math.nan])
def test_a_perplexity_beyond_all_sense_can_be_written(loss):
    """Files hold finite numbers alone: the worst of scores must not cost a search its result."""
    found = perplexity(said([], ["a"], [loss], [1.0]))
    assert found > perplexity(said([], ["a"], [99.0], [1.0]))
    assert json.loads(to_json(found)) == found


def test_rouge_l_counts_the_longest_common_subsequence():
    """ROUGE-L of 'a b c d' against 'a c d e' is 3 of 4 on both sides."""
    assert rouge_l(said(["a b c d"], ["a c d e"])) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("predicted", "expected", "score"),
    [
        ("Кошка спит.", "кошка спит", 1.0),
        ("кошка ест", "кошка спит", 0.5),
        ("我喜欢猫", "我喜欢狗", 0.75),
        ("u\u0308ber uns", "Über uns", 1.0),
        ("uber uns", "über uns", 0.5),
        ("हिन्दी में", "हिन्दी में", 1.0),
        ("มานี", "มานะ", 4 / 7),
        ("\u0301", "a", 0.0),
        ("\u0301a", "a", 1.0),
    ],
)
def test_rouge_l_counts_words_of_any_script(predicted, expected, score):
    """Letters beyond a to z are letters; where a script puts no space between words, each counts by itself."""
    assert rouge_l(said([predicted], [expected])) == pytest.approx(score)


@settings(deadline=None)  # the first call imports the reference
@given(st.text(alphabet="aB1 .,_'-\n", max_size=20), st.text(alphabet="aB1 .,_'-\n", max_size=20))
def test_rouge_l_is_the_references_for_plain_english(predicted, expected):
    """Words of a to z and digits are cut as rouge_score cuts them by itself."""
    from rouge_score.rouge_scorer import RougeScorer

    reference = RougeScorer(["rougeL"]).score(expected, predicted)["rougeL"].fmeasure
    assert rouge_l(said([predicted], [expected])) == pytest.approx(reference)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("16 - 3 = 13 #### 1,300", "1300"),
        ("so it is 18.0 in all", "18"),
        ("#### Blue.\nmore", "blue"),
        ("thinking\nParis", "paris"),
        ("5 #### 7 and #### -2.50", "-2.5"),
        ("#### 1/2", "0.5"),
        ("half of it: 3/2", "1.5"),
        ("#### 3 and 4", "3 4"),
        ("#### 18 eggs\nQuestion 2: what of 5?", "18"),
        ("", ""),
    ],
)
def test_final_answer_is_what_follows_the_mark_or_comes_last(text, answer):
    """The marked line decides, then the last number, then the last line; numbers and fractions compare by value."""
    assert final_answer(text) == answer


def test_every_task_type_is_declared_with_its_metrics():
    """There is one file for each word of TASKS and its default metric is one of its own at any balance."""
    assert set(all_tasks()) == set(TASKS)
    for task in all_tasks().values():
        assert {task.default_metric(share) for share in (0.0, 0.1, 0.5, 1.0)} <= set(task.metrics)
        assert task.lower_is_better <= set(task.metrics)


def test_imbalance_changes_the_metric_that_decides():
    """Imbalanced pairs are judged by MCC, imbalanced classes by macro-F1, balanced ones by accuracy."""
    assert get_task("pair-classification").default_metric(0.1) == "mcc"
    assert get_task("classification").default_metric(0.1) == "macro_f1"
    assert get_task("classification").default_metric(0.4) == "accuracy"
