"""Columns, labels and splits of a data set, and the errors for data that cannot be used."""

import json
import random
import time
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft import files
from autopeft.data import class_weights, folds, load_data, load_like, near_duplicate_groups
from autopeft.data._splits import assign
from autopeft.errors import DataError, InvalidValueError
from autopeft.values.data import DataSpec


def sentence(number):
    generator = random.Random(number)
    return " ".join("".join(generator.choices("abcdefgh", k=5)) for _ in range(8))


def write(folder, rows, name="data.jsonl"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def reviews(number, start=0):
    return [{"text": sentence(i), "label": ("no", "yes")[i % 2]} for i in range(start, start + number)]


@pytest.mark.parametrize(
    ("row", "task", "roles"),
    [
        ({"review": "w", "stars": 4}, "classification", {"text": "review", "label": "stars"}),
        ({"Sentence": "w", "score": 0.5}, "regression", {"text": "Sentence", "label": "score"}),
        ({"premise": "w", "hypothesis": "w", "label": "x"}, "pair-classification",
         {"text": "premise", "text_pair": "hypothesis", "label": "label"}),
        ({"instruction": "w", "input": "", "output": "w"}, "instruction",
         {"prompt": "instruction", "completion": "output", "input": "input"}),
        ({"prompt": "w", "completion": "w"}, "generation", {"prompt": "prompt", "completion": "completion"}),
        ({"question": "w", "answer": "so #### 3"}, "reasoning", {"prompt": "question", "completion": "answer"}),
        ({"document": "w", "summary": "one two three four"}, "seq2seq", {"source": "document", "target": "summary"}),
        ({"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]}, "token-classification",
         {"tokens": "tokens", "tags": "ner_tags"}),
        ({"question": "w", "choices": ["a", "b"], "answer": "B"}, "multiple-choice",
         {"prompt": "question", "choices": "choices", "answer": "answer"}),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "instruction",
         {"messages": "conversations"}),
        ({"text": "w"}, "generation", {"text": "text"}),
        ({"remark": "w", "kind": "x"}, "classification", {"text": "remark", "label": "kind"}),
    ],
)  # fmt: skip
def test_task_and_columns_are_told_from_names_and_contents(tmp_path, row, task, roles):
    """The usual names of columns need no options."""

    def vary(value, i):
        varied = {
            "w": sentence(i), "x": "ab"[i % 2], 4: i % 3, 0.5: i / 7,
            "one two three four": f"one two three {sentence(i)}", "so #### 3": f"{sentence(i)} #### {i}",
        }  # fmt: skip
        return varied.get(value, value) if isinstance(value, str | int | float) else value

    def unlike(cell, i):
        if isinstance(cell, list) and isinstance(cell[0], dict):
            return [{**cell[0], "value": sentence(i)}, cell[1]]
        return [sentence(i), "b"] if cell == ["a", "b"] else vary(cell, i)

    rows = [{name: unlike(cell, i) for name, cell in row.items()} for i in range(40)]
    data = load_data(write(tmp_path, rows))
    assert (data.spec.task, data.spec.columns) == (task, roles)
    sizes = [len(data.rows[name]) for name in ("train", "validation", "test")]
    assert sum(sizes) == 40
    assert all(abs(size - share) <= 1 for size, share in zip(sizes, (32, 4, 4), strict=True))


def test_splits_are_stratified_seeded_and_complete(tmp_path):
    """Every row is in one split, labels keep their shares, and the seed decides."""
    source = write(tmp_path, reviews(200))
    data = load_data(source, seed=3)
    texts = [row["text"] for split in data.rows.values() for row in split]
    assert sorted(texts) == sorted(row["text"] for row in reviews(200))
    assert sum(row["label"] == "yes" for row in data.rows["test"]) == 10
    assert load_data(source, seed=3).rows == data.rows
    assert load_data(source, seed=4).rows != data.rows


def test_near_duplicates_stay_in_one_split(tmp_path):
    """Texts that differ in case, punctuation or one word of many never stand in two splits."""
    rows = reviews(60)
    for row in reviews(60):
        words = sentence(hash_of(row["text"])) + " " + row["text"]
        rows += [{**row, "text": f"{words} one"}, {**row, "text": f"{words.upper()}, one!"}, {**row, "text": words}]
    data = load_data(write(tmp_path, rows))
    where: dict[str, set[str]] = {}
    for split, kept in data.rows.items():
        for row in kept:
            where.setdefault(row["text"].casefold().rstrip("!").replace(",", "").removesuffix(" one"), set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())
    assert data.counts.duplicates == 60


def hash_of(text):
    return sum(map(ord, text)) * len(text)


def test_groups_are_by_similarity():
    """One word of twenty changed is the same text; another text is not."""
    words = [f"w{i}" for i in range(20)]
    texts = [" ".join(words), " ".join(["new", *words[1:]]), sentence(1), sentence(2), ""]
    assert near_duplicate_groups(texts) == [0, 0, 2, 3, 4]


def test_given_splits_are_kept_and_leaks_counted(tmp_path):
    """A given test split is not moved; validation is cut from train, without rows that test holds too."""
    train, test = reviews(40), reviews(10, start=100)
    leak = {**train[0], "text": train[0]["text"].upper()}
    write(tmp_path, train, "train.jsonl")
    write(tmp_path, [*test, leak], "test.jsonl")
    data = load_data(str(tmp_path))
    assert data.rows["test"] == [*test, leak]
    assert data.counts.leaked == 1
    assert len(data.rows["validation"]) == 4
    assert train[0] in data.rows["train"]


def test_twenty_thousand_rows_are_grouped_in_seconds():
    """The search for near-duplicates is linear in the rows."""
    texts = [sentence(i) for i in range(20_000)]
    start = time.process_time()
    near_duplicate_groups(texts)
    assert time.process_time() - start < 8


groups_and_labels = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab")), min_size=1, max_size=80)


@settings(deadline=None)
@given(groups_and_labels, st.integers(0, 5))
def test_assign_neither_loses_nor_separates(rows, seed):
    """Every row is in one part, a group in one part only, and no part is empty."""
    groups = [group for group, _ in rows]
    first_label: dict[int, str] = {}
    for group, label in rows:
        first_label.setdefault(group, label)
    strata, shares = [label for _, label in rows], {"train": 0.8, "test": 0.2}
    if min(Counter(first_label.values()).values()) < 2:
        with pytest.raises(DataError, match="too few for train, test"):
            assign(groups, strata, shares, seed)
        return
    parts = assign(groups, strata, shares, seed)
    assert sorted(place for part in parts.values() for place in part) == list(range(len(rows)))
    assert not {groups[place] for place in parts["train"]} & {groups[place] for place in parts["test"]}
    assert all(parts.values())


def test_like_keeps_labels_limit_and_weights(tmp_path):
    """Another source is prepared as the first one was, also where it has fewer labels and no order of its own."""
    first = load_data(write(tmp_path, reviews(60)), labels=("yes", "no"), token_limit=24, seed=5)
    spec = replace(first.spec, class_weights=(1.0, 2.0))
    spec = files.parse(DataSpec, files.plain(spec), "spec")
    other = load_like(spec, write(tmp_path, reviews(40, start=500), "other.jsonl"))
    assert replace(other.spec, source=spec.source) == spec


def test_class_weights_are_balanced(tmp_path):
    """A label that is three times rarer weighs three times more."""
    rows = [{"text": sentence(i), "label": "ab"[i % 4 == 0]} for i in range(80)]
    data = load_data(write(tmp_path, rows))
    a, b = class_weights(data)
    assert b == pytest.approx(3 * a)


def test_numbers_that_cannot_be_split_are_not_called_labels(tmp_path):
    """Of data to regress on, what is too few for the splits is a bin of numbers, and no label can be merged."""
    rows = [{"text": sentence(0 if i < 20 else i), "label": i / 7} for i in range(100)]
    with pytest.raises(DataError, match=r"Bin 1 of the numbers, by size, has 20 rows .*\nAdd rows, or give"):
        load_data(write(tmp_path, rows))


def test_too_few_rows_for_folds_is_said_in_words(tmp_path):
    """A label that cannot be in every fold is named with how many folds there are and the option that sets them."""
    data = load_data(write(tmp_path, [{"text": sentence(i), "label": "b" if i < 5 else "a"} for i in range(40)]))
    with pytest.raises(DataError, match=r"'b' has \d rows .*too few for the 9 folds of a cross-val.*\n.*\(--folds; 1 "):
        list(folds(data, 9))


def test_folds_share_out_train_and_validation(tmp_path):
    """Each row validates once, none in its own training, and test is untouched."""
    data = load_data(write(tmp_path, reviews(100)))
    found = list(folds(data, 5))
    held = [row["text"] for fold in found for row in fold.rows["validation"]]
    assert sorted(held) == sorted(row["text"] for name in ("train", "validation") for row in data.rows[name])
    for fold in found:
        assert not {row["text"] for row in fold.rows["train"]} & {row["text"] for row in fold.rows["validation"]}
        assert fold.rows["test"] == data.rows["test"]


def test_labels_sort_by_number_and_metric_follows_balance(tmp_path):
    """Stars sort as numbers, and a rare label turns the default metric."""
    rows = [{"text": sentence(i), "label": 10 if i % 10 == 0 else 2} for i in range(80)]
    spec = load_data(write(tmp_path, rows)).spec
    assert (spec.labels, spec.metric) == (("2", "10"), "macro_f1")


def broken(rows, share):
    return [{**row, "label": None} if i < share * len(rows) else row for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"text": sentence(i), "label": "a"} for i in range(9)], {}, r"one label only \('a'\)"),
        (broken(reviews(20), 0.5), {}, r"10 of 20 rows .* have no label \(column 'label'\)(.|\n)*Fill them in"),
        (broken(reviews(50), 0.06), {}, "3 of 50 rows .* have no label"),
        (reviews(20), {"columns": {"text": "txt"}}, r"no column 'txt' for text(.|\n)*Did you mean 'text'"),
        (reviews(20), {"columns": {"lable": "label"}}, r"no column role 'lable'.*Did you mean 'label'"),
        (reviews(20), {"task": "seq2seq"}, r"seq2seq needs columns for source \+ target"),
        ([*reviews(20), {"text": sentence(99), "label": "rare"}], {}, r"label 'rare' has 1 rows.*too few"),
        (reviews(20), {"labels": ("no",)}, "label 'yes' .*unseen in training"),
        ([{"a": 1, "b": 2}], {}, "task cannot be told from the columns"),
    ],
)
def test_data_that_cannot_be_used_says_why(tmp_path, rows, options, message):
    """One sentence with names and counts, and what to do."""
    with pytest.raises(DataError, match=message):
        load_data(write(tmp_path, rows), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "clasification"}, "Did you mean 'classification'"),
        ({"metric": "acuracy"}, "Did you mean 'accuracy'"),
        ({"fractions": (0.8, 0.1, 0.2)}, "add up to 1"),
    ],
)
def test_options_that_do_not_exist_are_named(tmp_path, options, message):
    """Unknown task types and metrics offer the nearest name."""
    with pytest.raises(InvalidValueError, match=message):
        load_data(write(tmp_path, reviews(20)), **options)


def test_label_of_a_given_split_must_be_in_train(tmp_path):
    """A label that only the test split has cannot be learnt."""
    write(tmp_path, reviews(20), "train.jsonl")
    write(tmp_path, [{"text": sentence(50), "label": "new"}], "test.jsonl")
    with pytest.raises(DataError, match=r"test split .* has the label 'new', unseen in training"):
        load_data(str(tmp_path))


def test_a_train_split_that_is_the_test_split_leaves_nothing_to_validate_on(tmp_path):
    """Where every training text stands in a given split too, that is said, and validation is not empty."""
    write(tmp_path, reviews(40), "train.jsonl")
    write(tmp_path, reviews(40), "test.jsonl")
    with pytest.raises(DataError, match=r"stand, nearly, in test too: none is left for validation"):
        load_data(str(tmp_path))


def test_a_given_split_that_nothing_is_left_of_is_named(tmp_path):
    """A test split whose rows all have another number of choices is refused, not scored on no rows."""
    rows = [{"question": sentence(i), "choices": ["a", "b"], "answer": "B"} for i in range(40)]
    write(tmp_path, rows, "train.jsonl")
    write(tmp_path, [{**rows[0], "choices": ["a", "b", "c"]}], "test.jsonl")
    with pytest.raises(DataError, match="no usable row in test"):
        load_data(str(tmp_path))


def test_a_few_missing_labels_are_left_out_and_counted(tmp_path):
    """Below five percent the rest is used."""
    data = load_data(write(tmp_path, broken(reviews(100), 0.02)))
    assert data.counts.dropped == {"label missing": 2}
    assert sum(map(len, data.rows.values())) == 98


def test_named_task_prefers_its_first_columns(tmp_path):
    """A task that takes several kinds of rows takes the preferred one that is there, unless the user names another."""
    rows = [{"prompt": sentence(i), "completion": sentence(-i - 1), "content": sentence(i + 500)} for i in range(20)]
    source = write(tmp_path, rows)
    assert set(load_data(source, task="generation").spec.columns) == {"prompt", "completion"}
    assert load_data(source, task="generation", columns={"text": "content"}).spec.columns == {"text": "content"}


def test_regression_takes_a_pair_where_there_is_one(tmp_path):
    """A second text is not dropped silently, and can be left out by naming the others."""
    rows = [{"sentence1": sentence(i), "sentence2": sentence(-i - 1), "score": i / 7} for i in range(40)]
    source = write(tmp_path, rows)
    assert set(load_data(source, task="regression").spec.columns) == {"text", "text_pair", "label"}
    named = {"text": "sentence1", "label": "score"}
    assert load_data(source, task="regression", columns=named).spec.columns == named


def test_named_classes_are_labels_however_many_there_are(tmp_path):
    """Class ids that the source has names for are no quantity, though there be more than fifty of them."""
    import datasets

    names = [f"intent {number:02}" for number in range(60)]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    rows = [{"text": sentence(i), "label": i % 60} for i in range(240)]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    spec = load_data(str(tmp_path / "saved")).spec
    assert (spec.task, spec.labels) == ("classification", tuple(names))
