"""Rows take one form, however their cells are spelled and whatever their speakers are called."""

import json

import pytest

from autopeft.data import input_rows
from autopeft.data._rows import by_role, listed
from autopeft.errors import DataError
from autopeft.values.data import DataSpec

TAGGED = {"tokens": "tokens", "tags": "tags"}


@pytest.mark.parametrize(
    ("cell", "meant"),
    [
        ('["EU", "rejects"]', ["EU", "rejects"]),
        ("['EU', \"isn't\"]", ["EU", "isn't"]),
        ("['EU',\n 'rejects']", ["EU", "rejects"]),
        ("{'text': ['a', 'b'], 'label': ['A', 'B']}", {"text": ["a", "b"], "label": ["A", "B"]}),
        ("EU rejects", ["EU", "rejects"]),
        ("['EU' 'rejects']", None),
        ("['EU'\n 'rejects']", None),
        ("[0 1 2]", None),
        ("[EU, rejects]", None),
        ("{'EU'", None),
    ],
)
def test_a_list_in_a_cell_is_read_as_spelled_or_not_at_all(cell, meant):
    """JSON and Python spell lists; what begins like one and is none is never cut into words with brackets on them."""
    assert listed(cell) == meant


def test_lists_that_pandas_wrote_are_tags_and_those_of_numpy_are_refused():
    """A table written by pandas has the tags it was written from; one that spells no list says what a list is."""
    rows = [{"tokens": "['EU', 'rejects']", "tags": "['B-ORG', 'O']"}] * 20
    found, dropped = by_role(rows, "token-classification", TAGGED, {}, "a.csv")
    assert found[0] == {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}
    assert not dropped
    spelled = [{"tokens": "['EU' 'rejects']", "tags": "['B-ORG' 'O']"}] * 20
    with pytest.raises(DataError, match=r"20 of 20 rows of a\.csv cannot be used(.|\n)*spelled as JSON or Python does"):
        by_role(spelled, "token-classification", TAGGED, {}, "a.csv")


def inputs(tmp_path, rows, **spec):
    path = tmp_path / "new.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return input_rows(DataSpec(source="", **spec), str(path))


@pytest.mark.parametrize("name", ["assistant", "gpt", "chatgpt", "bot", "model"])
def test_a_chat_that_the_model_has_answered_gets_no_second_answer(tmp_path, name):
    """The model's turn is its own under every name that training reads as the assistant's."""
    chat = [{"from": "human", "value": "q"}, {"from": name, "value": "a"}]
    (row,) = inputs(tmp_path, [{"messages": chat}], task="instruction", columns={"messages": "messages"}, metric="p")
    assert row == {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def test_words_that_are_no_list_are_no_input(tmp_path):
    """A cell that spells no list leaves its row without a prediction, and the others with theirs."""
    rows = [{"tokens": "['EU' 'rejects']"}, {"tokens": "['EU']"}]
    found = inputs(tmp_path, rows, task="token-classification", columns=TAGGED, labels=("O",), metric="seqeval_f1")
    assert found == (None, {"tokens": ["EU"], "tags": ["O"]})
