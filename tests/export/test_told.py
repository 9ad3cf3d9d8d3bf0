"""Each tool is told where the data lies and how it is written, or the export says what to change in it."""

import json
from dataclasses import replace

import pytest
import yaml

from autopeft.errors import InvalidValueError
from autopeft.export import export
from tests.export.test_export import LANGUAGE, told

CHATTING = sorted(set(LANGUAGE) - {"ludwig"})
OPENAI = ("role", "content", "user", "assistant")
SHAREGPT = ("from", "value", "human", "gpt")


def of(config, source, **columns):
    """A config on another source and other columns."""
    return replace(config, data=replace(config.data, source=str(source), columns=columns))


def chats(path, form, column="messages"):
    """Writes a few chats, each with a question and its answer."""
    role, content, asking, answering = form
    turns = [{role: asking, content: "good?"}, {role: answering, content: "yes"}]
    path.write_text("".join(json.dumps({column: turns}) + "\n" for _ in range(3)))
    return path


def files(made):
    return "\n".join((made.text, *made.companions.values()))


@pytest.mark.parametrize("name", CHATTING)
def test_chats_are_told_as_they_are_written(writer, name, tmp_path):
    """Turns with `from` and `value` are read under these keys, or have to be rewritten; the usual ones need nothing."""
    usual = of(writer, chats(tmp_path / "openai.jsonl", OPENAI), messages="messages")
    older = of(writer, chats(tmp_path / "sharegpt.jsonl", SHAREGPT, "conversations"), messages="conversations")
    assert not told(usual, name, "which the tool does not read")
    assert told(older, name, "`from` and `value`, by 'gpt', 'human', which the tool does not read") == (name == "trl")
    assert not any(told(chat, name, "could not be seen here") for chat in (usual, older))
    assert told(of(writer, "team/chats", messages="messages"), name, "could not be seen here")
    plain, others = (files(export(chat, name)) for chat in (usual, older))
    marks = {
        "axolotl": "message_property_mappings",
        "llamafactory": '"user_tag": "human"',
        "torchtune": "conversation_style: sharegpt",
        "unsloth": "format_type: sharegpt",
        "trl": "lora",
    }
    assert (marks[name] in others, marks[name] in plain) == (True, name == "trl")


def test_axolotl_and_llamafactory_are_told_the_keys(writer, tmp_path):
    """Role and content stand under the data's own keys, and the speakers under the data's own names."""
    older = of(writer, chats(tmp_path / "older.jsonl", ("from", "content", "user", "bot")), messages="messages")
    (data,) = yaml.safe_load(export(older, "axolotl").text)["datasets"]
    assert data["message_property_mappings"] == {"role": "from", "content": "content"}
    tags = json.loads(export(older, "llamafactory").companions["dataset_info.json"])["tuned"]["tags"]
    wanted = {"role_tag": "from", "content_tag": "content", "user_tag": "user", "assistant_tag": "bot"}
    assert tags == {**wanted, "system_tag": "system"}


@pytest.mark.parametrize("name", sorted(set(CHATTING) - {"llamafactory"}))
def test_a_speaker_that_a_tool_does_not_know_is_said(writer, name, tmp_path):
    """A name for the assistant that autopeft reads and a tool does not would teach it another role, or none."""
    path = chats(tmp_path / "bots.jsonl", ("role", "content", "user", "bot"))
    assert told(of(writer, path, messages="messages"), name, "by 'bot', 'user', which the tool does not read")


def test_chats_that_cannot_be_read_are_not_guessed_at(writer, tmp_path):
    """A damaged file, and one whose first row has no turns, are as little known as data on the hub."""
    path = tmp_path / "chats.jsonl"
    for content in ("{", '{"messages": "good?"}\n', '{"messages": []}\n'):
        path.write_text(content)
        assert told(of(writer, path, messages="messages"), "axolotl", "could not be seen here")


def test_plain_text_stays_a_row_of_its_own(writer, tmp_path):
    """LLaMA-Factory joins rows of plain text unless it is told not to; TRL is told which column the text is."""
    path = tmp_path / "reviews.jsonl"
    path.write_text('{"review": "a good film"}\n')
    plain = of(writer, path, text="review")
    assert yaml.safe_load(export(plain, "llamafactory").text)["packing"] is False
    assert "packing" not in yaml.safe_load(export(writer, "llamafactory").text)
    assert yaml.safe_load(export(plain, "trl").text)["dataset_text_field"] == "review"
    assert not told(plain, "trl", "'review' is read as")
    assert told(plain, "unsloth", "'review' is read as 'text'")


@pytest.mark.parametrize(
    ("suffix", "loader", "unread"),
    [
        (".txt", "text", {"unsloth"}),
        (".ndjson", "json", {"unsloth", "llamafactory"}),
        (".tsv", "csv", {"unsloth", "llamafactory"}),
        (".jsonl", "json", set()),
    ],
)
def test_each_kind_of_file_has_its_loader(writer, suffix, loader, unread, tmp_path):
    """Whatever kind of file was tuned on is a file to the tools too; those that go by its name and lack it are said."""
    lines = of(writer, tmp_path / f"lines{suffix}", text="text")
    assert yaml.safe_load(export(lines, "trl").text)["datasets"][0]["path"] == loader
    assert yaml.safe_load(export(lines, "torchtune").text)["dataset"]["source"] == loader
    assert {name for name in LANGUAGE if name != "ludwig" and told(lines, name, f"and no {suffix}:")} == unread


def test_a_text_file_of_cells_is_a_table(writer, tmp_path):
    """Lines that tabs cut into cells are no rows of text, whatever the file is called."""
    path = tmp_path / "pairs.txt"
    path.write_text("prompt\tcompletion\ngood?\tyes\n")
    table = of(writer, path, prompt="prompt", completion="completion")
    assert yaml.safe_load(export(table, "trl").text)["datasets"][0]["path"] == "csv"
    assert told(table, "trl", "cells are separated by")
    path.write_text("a good film\n")
    assert not told(of(writer, path, text="text"), "trl", "cells are separated by")


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_path_is_written_out(writer, name, tmp_path, monkeypatch):
    """No tool knows what a leading ~ stands for."""
    monkeypatch.setenv("HOME", str(tmp_path))
    made = export(of(writer, "~/pairs.jsonl", prompt="prompt", completion="completion"), name)
    said = "\n".join((files(made), *made.unsupported))
    assert str(tmp_path / "pairs.jsonl") in said
    assert "~" not in said


@pytest.mark.parametrize("name", LANGUAGE)
def test_rows_that_were_a_trainers_own_are_refused(writer, name):
    """A search with somebody's Trainer knows no file and no columns, without which a tool has nothing to train on."""
    own = of(writer, "the trainer's")
    with pytest.raises(InvalidValueError, match=r"`data\.columns` of a config for .*\nThe data was a Trainer's own"):
        export(own, name)
    for other in ("peft", "transformers"):
        assert told(own, other, "The data, the trainer's, is the script's own to load: rows of at most 24 tokens")
        assert not told(own, other, "split of the search")
