"""Every task type on a tiny model: losses per row are the model's own, and padding changes nothing."""

from typing import Any

import pytest

from autopeft.data import Data, encode
from autopeft.tasks import get_task, ready_tokenizer
from autopeft.testing.models import tiny_tokenizer
from autopeft.values.data import DataSpec
from autopeft.values.names import ModelKind, Task

CASES: dict[Task, tuple[str, list[dict[str, Any]]]] = {
    "classification": ("bert", [{"text": "good", "label": "y"}, {"text": "bad film", "label": "n"}]),
    "pair-classification": (
        "llama",
        [{"text": "a", "text_pair": "b", "label": "y"}, {"text": "abc", "text_pair": "d", "label": "n"}],
    ),
    "regression": ("gpt2", [{"text": "good", "label": 1.5}, {"text": "bad film", "label": -2.0}]),
    "token-classification": (
        "bert",
        [{"tokens": ["ab", "c"], "tags": ["y", "n"]}, {"tokens": ["d"], "tags": ["n"]}],
    ),
    "multiple-choice": (
        "bert",
        [{"prompt": "q", "choices": ["a", "bcd"], "label": 1}, {"prompt": "where", "choices": ["e", "f"], "label": 0}],
    ),
    "generation": ("llama", [{"prompt": "ask", "completion": "say"}, {"prompt": "a", "completion": "longer"}]),
    "instruction": ("gpt2", [{"prompt": "ask", "completion": "say"}, {"prompt": "a", "completion": "longer"}]),
    "reasoning": ("llama", [{"prompt": "1+1", "completion": "#### 2"}, {"prompt": "2", "completion": "it is 2"}]),
    "seq2seq": ("t5", [{"source": "abc", "target": "cba"}, {"source": "d", "target": "d"}]),
}  # fmt: skip
KINDS: dict[str, ModelKind] = {"bert": "encoder", "t5": "seq2seq"}
OWN_HEAD = {"generation", "instruction", "reasoning", "seq2seq", "multiple-choice"}


def build(task, architecture, folder):
    import transformers

    kind = KINDS.get(architecture, "decoder")
    extra: dict[str, Any] = {} if task in OWN_HEAD else {"num_labels": 2, "id2label": {0: "n", 1: "y"}}
    if task == "regression":
        extra = {"num_labels": 1}
    auto = getattr(transformers, get_task(task).auto_class[kind])
    return auto.from_pretrained(folder, pad_token_id=0, **extra).eval(), kind


def stack(rows):
    import torch

    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


@pytest.mark.parametrize("name", sorted(CASES))
def test_losses_do_not_depend_on_padding_and_agree_with_the_model(tiny_models, name):
    """A row alone has the loss it has in a batch, and that loss is the one the model trains on."""
    architecture, rows = CASES[name]
    model, kind = build(name, architecture, tiny_models[architecture])
    task, tokenizer = get_task(name), ready_tokenizer(tiny_tokenizer())
    labels = ("n", "y") if task.has_labels else ()
    spec = DataSpec(source="", task=name, columns={}, labels=labels, metric=next(iter(task.metrics)))
    dataset = encode(Data(spec=spec, rows={"train": rows}), tokenizer, kind)["train"]
    together = task.predict(model, stack(dataset.__getitems__([0, 1])), tokenizer, dataset.longest_target)
    for place in (0, 1):
        batch = stack([dataset[place]])
        alone = task.predict(model, batch, tokenizer, dataset.longest_target)
        assert alone.losses[0] == pytest.approx(together.losses[place], rel=1e-4)
        assert alone.losses[0] == pytest.approx(model(**batch).loss.item(), rel=1e-4)
        assert alone.expected == [together.expected[place]]
        assert task.losses(model, batch) == (alone.losses, alone.weights)
    assert len(together.predicted) == 2
    for metric in task.metrics.values():
        assert isinstance(metric(together), float)
