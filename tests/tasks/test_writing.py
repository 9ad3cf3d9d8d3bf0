"""What a row's answer may be does not depend on the rows beside it."""

from typing import Any

import pytest

from autopeft.data import Data, encode
from autopeft.tasks import get_task, ready_tokenizer
from autopeft.tasks._language import continue_prompts
from autopeft.testing.models import tiny_tokenizer
from autopeft.training.scoring import predict
from autopeft.values.data import DataSpec
from tests.tasks.test_predictions import build, stack

ROWS: dict[Any, tuple[str, list[dict[str, Any]]]] = {
    "reasoning": ("gpt2", [{"prompt": f"{n}+1", "completion": "#### " + "7" * n} for n in range(1, 9)]),
    "seq2seq": ("t5", [{"source": f"{n}+1", "target": "7" * n} for n in range(1, 9)]),
}


def encoded(name, rows, tokenizer, kind):
    spec = DataSpec(source="", task=name, columns={}, metric=next(iter(get_task(name).metrics)))
    return encode(Data(spec=spec, rows={"train": rows}), tokenizer, kind)["train"]


@pytest.mark.parametrize("name", ROWS)
def test_texts_do_not_depend_on_the_rows_written_at_once(tiny_models, name):
    """A row's text is as long as any of the split may be, whether it is written alone or beside others."""
    architecture, rows = ROWS[name]
    model, kind = build(name, architecture, tiny_models[architecture])
    tokenizer = ready_tokenizer(tiny_tokenizer())
    dataset = encoded(name, rows, tokenizer, kind)

    def said(size):
        found = predict(model, dataset, get_task(name), tokenizer, dtype="float32", device="cpu", batch_size=size)
        return found.predicted

    assert said(1) == said(3) == said(8)


def test_a_prompt_without_room_shortens_its_own_text_alone(tiny_models):
    """Where prompt and longest answer together exceed the model's positions, the row is written by itself."""
    rows = [{"prompt": "p" * 60, "completion": "yes"}, {"prompt": "p", "completion": "#### " + "7" * 60}]
    model, kind = build("reasoning", "gpt2", tiny_models["gpt2"])
    tokenizer = ready_tokenizer(tiny_tokenizer())
    dataset = encoded("reasoning", rows, tokenizer, kind)
    longest = dataset.longest_target
    assert max(dataset.lengths) <= 128 < max(dataset.lengths) + longest
    together = continue_prompts(model, stack(dataset.__getitems__([0, 1])), tokenizer, longest)
    alone = [continue_prompts(model, stack([dataset[place]]), tokenizer, longest)[0] for place in (0, 1)]
    assert together == alone


class Parrot:
    """Writes the same answer after any prompt, as far as it is let."""

    class config:  # noqa: N801 - as models have it
        max_position_embeddings = None

    def __init__(self, answer: list[int]) -> None:
        self.answer = answer

    def generate(self, input_ids, max_new_tokens, **_):
        import torch

        written = torch.tensor([self.answer[:max_new_tokens]] * len(input_ids))
        return torch.cat([input_ids, written], dim=1)


def test_an_answer_longer_than_its_own_reference_is_not_cut(tiny_models):
    """A row whose reference is short may be answered in more tokens, alone in its batch or not."""
    tokenizer = ready_tokenizer(tiny_tokenizer())
    rows = [{"prompt": "a", "completion": "#### 7"}, {"prompt": "b", "completion": "it comes to #### 12"}]
    dataset = encoded("reasoning", rows, tokenizer, "decoder")
    answer = tokenizer("#### 7.0", add_special_tokens=False).input_ids
    own = sum(label != -100 for label in dataset.rows[0]["labels"])
    assert own == len(answer) - 1
    assert dataset.longest_target == len("it comes to #### 12") + 1
    batch = stack([dataset[0]])
    assert continue_prompts(Parrot(answer), batch, tokenizer, dataset.longest_target) == ["#### 7.0"]
