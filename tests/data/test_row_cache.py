"""Rows are encoded once, and what is kept on disk is what was encoded."""

from dataclasses import replace
from typing import Any

import pytest

from autopeft.data import Data, RowCache, encode, row_cache
from autopeft.tasks import ready_tokenizer
from autopeft.testing.models import tiny_tokenizer
from autopeft.values.data import DataSpec

ROWS: dict[str, list[dict[str, Any]]] = {
    "classification": [{"text": "abc", "label": "y"}, {"text": "defghi", "label": "n"}],
    "regression": [{"text": "abc", "label": 2}, {"text": "d", "label": 0.5}],
    "token-classification": [{"tokens": ["ab", "c"], "tags": ["y", "n"]}],
    "multiple-choice": [{"prompt": "abc", "choices": ["d", "ef"], "label": 1}],
    "generation": [{"text": "abc"}, {"text": "de"}],
}


@pytest.fixture(scope="module")
def tokenizer():
    return ready_tokenizer(tiny_tokenizer())


def data(task="classification", limit=4):
    labels = ("n", "y") if task in ("classification", "token-classification") else ()
    spec = DataSpec(source="", task=task, columns={}, labels=labels, token_limit=limit, metric="")
    return Data(spec=spec, rows={"train": ROWS[task], "test": ROWS[task][:1]})


def kept(folder, tokenizer, given, limit=4):
    return row_cache(folder, given.spec, tokenizer, "encoder", limit)


@pytest.mark.parametrize("task", ROWS)
def test_what_is_read_is_what_was_encoded(tmp_path, tokenizer, task):
    """Every kind of row comes back from disk with its values, its length and whether it was cut."""
    given = data(task)
    plain = encode(given, tokenizer, "encoder")
    first = kept(tmp_path, tokenizer, given)
    assert encode(given, tokenizer, "encoder", first) == plain
    first.save()
    again = kept(tmp_path, tokenizer, given)

    def never(_row):
        raise AssertionError("A kept row was encoded again.")

    for row in given.rows["train"]:
        again.of(row, never)
    assert encode(given, tokenizer, "encoder", again) == plain


def test_a_row_is_encoded_once():
    """The folds of a search share their rows."""
    calls = []

    def count(row):
        calls.append(row)
        return {"input_ids": [1]}, False

    cache = RowCache()
    assert cache.of({"text": "a"}, count) is cache.of({"text": "a"}, count)
    assert len(calls) == 1


def test_another_limit_label_or_tokenizer_has_rows_of_its_own(tmp_path, tokenizer):
    """Rows that were encoded in another way are not taken for these."""
    given = data()
    other = ready_tokenizer(tiny_tokenizer())
    other.chat_template = "{{ messages }}"
    caches = [
        kept(tmp_path, tokenizer, given),
        kept(tmp_path, tokenizer, given, limit=5),
        kept(tmp_path, tokenizer, replace(given, spec=replace(given.spec, labels=("y", "n")))),
        kept(tmp_path, other, given),
    ]
    for cache in caches:
        encode(given, tokenizer, "encoder", cache)
        cache.save()
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"text"])
def test_a_damaged_file_is_made_anew(tmp_path, tokenizer, damage):
    """A file that a power cut left half written costs time and nothing else."""
    given = data()
    first = kept(tmp_path, tokenizer, given)
    plain = encode(given, tokenizer, "encoder", first)
    first.save()
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = kept(tmp_path, tokenizer, given)
    assert encode(given, tokenizer, "encoder", again) == plain
    again.save()
    assert file.read_bytes() == whole


def test_rows_that_were_made_another_way_are_not_read(tmp_path, tokenizer, monkeypatch):
    """A change to how a row becomes tokens leaves what was kept before it to itself."""
    given = data()
    for made in ("1", "2"):
        monkeypatch.setattr("autopeft.data._row_cache._MADE", made)
        cache = kept(tmp_path, tokenizer, given)
        encode(given, tokenizer, "encoder", cache)
        cache.save()
    assert len(list(tmp_path.iterdir())) == 2
