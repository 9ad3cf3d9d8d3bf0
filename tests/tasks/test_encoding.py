"""How rows become tokens, and what a model says on them."""

import pytest

from autopeft.errors import DataError
from autopeft.tasks import get_task, ready_tokenizer
from autopeft.testing.models import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return ready_tokenizer(tiny_tokenizer())


def texts(tokenizer, encoded):
    """The decoded parts of a row without and with loss."""
    pairs = list(zip(encoded["input_ids"], encoded["labels"], strict=True))
    return (
        tokenizer.decode([token for token, label in pairs if label == -100]),
        tokenizer.decode([token for token, label in pairs if label != -100]),
    )


def test_loss_is_on_the_completion_alone(tokenizer):
    """The prompt is given; the completion is learnt, EOS included."""
    row = get_task("generation").encode({"prompt": "ask", "completion": "say"}, tokenizer, (), 50)
    assert texts(tokenizer, row) == ("ask\n", "say</s>")


@pytest.mark.parametrize(
    ("prompt", "completion", "given", "learnt"),
    [
        ("so ->", " yes", "so ->\n", "yes"),
        ("so:", "\n\nyes", "so:\n", "yes"),
        ("def f():", "\n    return 1", "def f():\n", "    return 1"),
        ("so: ", " yes", "so: ", " yes"),
    ],
)
def test_the_prompt_alone_decides_the_gap(tokenizer, prompt, completion, given, learnt):
    """What is given in training is what is given when the model is asked, whatever the completion begins with."""
    encode = get_task("generation").encode
    row = encode({"prompt": prompt, "completion": completion}, tokenizer, (), 50)
    assert texts(tokenizer, row) == (given, f"{learnt}</s>")
    asked = encode({"prompt": prompt, "completion": ""}, tokenizer, (), 50)
    assert texts(tokenizer, asked)[0] == given


def test_a_long_prompt_loses_its_beginning(tokenizer):
    """Truncation keeps the completion and the prompt's end, and says that it cut."""
    row = get_task("generation").encode({"prompt": "0123456789", "completion": "say"}, tokenizer, (), 8)
    assert texts(tokenizer, row) == ("789\n", "say</s>")
    assert row["truncated"]


def test_only_a_completion_over_the_limit_is_cut(tokenizer):
    """A completion that is too long by itself loses its end, not its beginning."""
    row = get_task("generation").encode({"prompt": "ask", "completion": "0123456789"}, tokenizer, (), 4)
    assert texts(tokenizer, row) == ("", "0123")


def test_plain_text_is_learnt_throughout(tokenizer):
    """Text without a prompt has its loss on all tokens."""
    row = get_task("generation").encode({"text": "all"}, tokenizer, (), 50)
    assert texts(tokenizer, row) == ("", "all</s>")


def test_chat_is_learnt_on_its_last_answer(tokenizer):
    """The template writes the turns; the last assistant turn alone is learnt and ends in EOS once."""
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    row = get_task("instruction").encode({"messages": messages}, tokenizer, (), 200)
    given, learnt = texts(tokenizer, row)
    assert given == "<s>user: a</s><s>assistant: b</s><s>user: c</s><s>assistant: "
    assert learnt == "d</s>"


def test_instruction_without_template_uses_headings():
    """A tokenizer without a chat template still marks who speaks."""
    bare = tiny_tokenizer()
    bare.chat_template = None
    row = get_task("instruction").encode({"prompt": "a", "completion": "b"}, bare, (), 200)
    assert texts(bare, row) == ("### User:\na\n\n### Assistant:\n", "b</s>")


def test_a_template_that_refuses_a_role_says_which_turns():
    """A system turn for a model that knows none is data that cannot be used, named with its turns and its model."""
    strict = tiny_tokenizer()
    strict.name_or_path = "strict-model"
    strict.chat_template = "{{ raise_exception('System role not supported') }}"
    messages = [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]
    with pytest.raises(DataError, match=r"strict-model refuses .* system, user: System role not supported\n"):
        get_task("instruction").encode({"messages": messages}, strict, (), 50)


def test_words_carry_their_tag_on_their_first_token(tokenizer):
    """Other tokens of a word are left out of the loss; cut words take their tags with them."""
    row = {"tokens": ["ab", "c", "de"], "tags": ["B-X", "O", "I-X"]}
    encode = get_task("token-classification").encode
    assert encode(row, tokenizer, ("O", "B-X", "I-X"), 50)["labels"] == [1, -100, -100, 0, -100, 2, -100]
    cut = encode(row, tokenizer, ("O", "B-X", "I-X"), 4)
    assert cut["labels"] == [1, -100, -100, 0]
    assert cut["truncated"]
    space_alone = encode(row, tokenizer, ("O", "B-X", "I-X"), 3)
    assert space_alone["labels"] == [1, -100, -100]
    assert space_alone["truncated"]


def words_tokenizer(prefix_space):
    """A byte-level tokenizer that has learnt words with the space before them, as those of language models have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>"], initial_alphabet=alphabet)
    made.train_from_iterator(["Ada met Bob in Rome", "in Rome Bob met Ada"] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", model_max_length=128)


@pytest.mark.parametrize("prefix_space", [False, True])
def test_words_are_read_as_in_running_text(prefix_space):
    """A byte-level tokenizer has other tokens for words without their space; one that adds it is given none."""
    tokenizer = words_tokenizer(prefix_space)
    row = {"tokens": ["Ada", "met", "Bob"], "tags": ["B-X", "O", "B-X"]}
    encoded = get_task("token-classification").encode(row, tokenizer, ("O", "B-X"), 50)
    assert encoded["input_ids"] == tokenizer("Ada met Bob").input_ids
    assert tokenizer.convert_ids_to_tokens(encoded["input_ids"])[-2:] == ["Ġmet", "ĠBob"]
    assert encoded["labels"][-2:] == [0, 1]
    assert "truncated" not in encoded
    assert "offset_mapping" not in encoded


def test_words_that_bring_their_own_mark_are_given_none():
    """A tokenizer that marks where each text begins, as Llama 2's, would read a space before it as one more mark."""
    from tokenizers import Tokenizer, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.train_from_iterator(["Ada met Bob", "Bob met Ada"], trainers.BpeTrainer(vocab_size=30))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=128)
    row = {"tokens": ["Ada", "met", "Bob"], "tags": ["O", "O", "O"]}
    encoded = get_task("token-classification").encode(row, tokenizer, ("O",), 50)
    pieces = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert "".join(pieces) == "▁Ada▁met▁Bob"


def test_a_word_that_cannot_be_read_takes_no_space_and_no_tag():
    """An empty word has no token; the words around it keep their tags."""
    row = {"tokens": ["Ada", "", "met"], "tags": ["B-X", "B-X", "O"]}
    encoded = get_task("token-classification").encode(row, words_tokenizer(False), ("O", "B-X"), 50)
    assert [label for label in encoded["labels"] if label != -100] == [1, 0]
    assert encoded["truncated"]


def test_scripts_without_spaces_get_none():
    """Between two Chinese words no running text has a space; between Chinese and Latin it has."""
    row = {"tokens": ["中国", "人", "Bob"], "tags": ["O", "O", "O"]}
    tokenizer = words_tokenizer(False)
    encoded = get_task("token-classification").encode(row, tokenizer, ("O",), 50)
    assert tokenizer.decode(encoded["input_ids"]) == "中国人 Bob"


def test_tokenizer_without_pad_token_pads_with_eos():
    """Decoders without a pad token can be batched."""
    bare = tiny_tokenizer()
    bare.pad_token = None
    assert ready_tokenizer(bare).pad_token_id == bare.eos_token_id
