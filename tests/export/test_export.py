"""Each export target gives a file its tool accepts, says what is left out, and refuses what the tool lacks."""

import json
from dataclasses import fields, replace

import peft
import pytest
import transformers
import yaml

from autopeft.errors import InvalidValueError, ModelError
from autopeft.export import all_targets, export
from autopeft.testing.models import tiny_model_folder
from autopeft.values.candidates import Candidate
from tests.finetune.conftest import tuned_for
from tests.toys import classification_csv

LANGUAGE = ("axolotl", "llamafactory", "ludwig", "torchtune", "trl", "unsloth")


@pytest.fixture(scope="module")
def classifier(tiny_models, tmp_path_factory):
    data = classification_csv(tmp_path_factory.mktemp("data") / "toy.csv")
    return tuned_for(tiny_models["bert"], data, "classification")


def test_all_targets_are_found():
    """A target is a file of the package: eight are there, each with the version it follows and its command."""
    targets = all_targets()
    assert sorted(targets) == [
        "axolotl",
        "llamafactory",
        "ludwig",
        "peft",
        "torchtune",
        "transformers",
        "trl",
        "unsloth",
    ]
    assert all(target.schema and "FILE" in target.run for target in targets.values())


@pytest.mark.parametrize("name", LANGUAGE)
def test_the_files_say_what_the_config_says(writer, name):
    """Rank, alpha, rate, batch and seed stand in every tool's file under its own keys, and nothing else is dropped."""
    made = export(writer, name)
    flat = _flat(yaml.safe_load(made.text))
    for keys, value in (
        (("lora_r", "r", "lora_rank"), 4),
        (("lora_alpha", "alpha"), 8),
        (("learning_rate", "lr"), 1e-2),
        (("batch_size", "micro_batch_size", "per_device_train_batch_size"), 8),
    ):
        assert [flat[key] for key in keys if key in flat] == [value], (keys, flat)
    assert any("split of the search" in sentence for sentence in made.unsupported)


def _flat(content):
    found: dict[str, object] = {}
    for key, value in content.items():
        found |= _flat(value) if isinstance(value, dict) else {key: value}
    return found


def test_peft_reads_its_file(writer, tmp_path):
    """peft's own loader gives back the very config that the search would attach."""
    (tmp_path / "adapter_config.json").write_text(export(writer, "peft").text)
    read = peft.PeftConfig.from_pretrained(tmp_path)
    wanted = writer.peft_config()
    assert isinstance(read, peft.LoraConfig)
    assert (read.r, read.lora_alpha, set(read.target_modules)) == (4, 8, set(wanted.target_modules))
    assert read.base_model_name_or_path == writer.model.source


def test_transformers_reads_its_file(classifier, tmp_path):
    """transformers' parser gives the very arguments that `training_arguments` would."""
    path = tmp_path / "arguments.json"
    path.write_text(export(classifier, "transformers").text)
    (read,) = transformers.HfArgumentParser(transformers.TrainingArguments).parse_json_file(str(path))
    wanted = classifier.training_arguments("trained")
    for key in classifier.training_settings("trained"):
        assert getattr(read, key) == getattr(wanted, key), key


def test_accumulation_is_told_to_the_trainer(classifier):
    """transformers' Trainer sums the losses of most heads where it accumulates: whoever takes its file is told."""
    several = replace(classifier, candidate=replace(classifier.candidate, accumulation=4))
    said = [
        any("accepts_loss_kwargs" in s for s in export(one, "transformers").unsupported)
        for one in (classifier, several)
    ]
    assert said == [False, True]


def test_what_is_left_out_is_said(writer):
    """Another start, another optimizer and a choice of layers each leave their sentence where a tool lacks them."""
    odd = replace(
        writer,
        candidate=replace(writer.candidate, method="rslora", optimizer="lora_plus", layers="last:2"),
        data=replace(writer.data, class_weights=(1.0, 2.0)),
        training=replace(writer.training, epochs=1.5),
    )
    assert any("use_rslora" in sentence for sentence in export(odd, "torchtune").unsupported)
    assert any("last:2" in sentence for sentence in export(odd, "torchtune").unsupported)
    assert any("lora_plus (ratio 16" in sentence for sentence in export(odd, "trl").unsupported)
    assert any("class weights" in sentence for sentence in export(odd, "axolotl").unsupported)
    assert any("1.5 epochs" in sentence for sentence in export(odd, "ludwig").unsupported)
    rates = yaml.safe_load(export(odd, "axolotl").text)
    assert rates["loraplus_lr_ratio"] == 16.0
    assert rates["peft_use_rslora"] is True
    assert not any("lora_plus" in sentence for sentence in export(odd, "axolotl").unsupported)
    assert all(".1." in name or ".2." in name for name in rates["lora_target_modules"])
    start = replace(writer, candidate=replace(writer.candidate, method="pissa", quantization="none"))
    assert any("`init_lora_weights`" in sentence for sentence in export(start, "trl").unsupported)
    assert yaml.safe_load(export(start, "axolotl").text)["peft_init_lora_weights"].startswith("pissa")


def told(config, name, words):
    """Whether an export says these words of what is left out."""
    return any(words in sentence for sentence in export(config, name).unsupported)


@pytest.mark.parametrize("name", [*LANGUAGE, "peft"])
def test_a_start_that_no_setting_tells_is_said(writer, name):
    """An adapter that starts from data goes out as the plain one that its settings are, and a sentence says so."""
    parameters = {"rank": 4, "alpha": 8, "dropout": 0.0}
    start = replace(writer.candidate, method="eva", parameters=parameters, quantization="none")
    assert told(replace(writer, candidate=start), name, "The start of EVA is not expressed")
    assert not told(writer, name, "The start of")


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_subset_of_the_hub_is_no_part_of_its_name(writer, name):
    """Where a tool has a key for it the subset stands there; elsewhere a sentence names it."""
    made = export(replace(writer, data=replace(writer.data, source="glue#sst2")), name)
    files = "\n".join((made.text, *made.companions.values()))
    assert "glue#sst2" not in "\n".join((files, *made.unsupported))
    assert ("sst2" in files) == (name not in ("ludwig", "unsloth"))
    assert any("subset 'sst2'" in sentence for sentence in made.unsupported) == ("sst2" not in files)


@pytest.mark.parametrize("name", LANGUAGE)
def test_cells_without_commas_between_them_are_said(writer, name, tmp_path):
    """A table cut by semicolons or tabs is no CSV to another tool's reader."""
    for separator, suffix, said in ((",", ".csv", False), (";", ".csv", True), ("\t", ".tsv", True)):
        path = tmp_path / f"pairs{suffix}"
        path.write_text("".join(f"{separator.join(cells)}\n" for cells in [("prompt", "completion"), ("a?", "yes")]))
        table = replace(writer, data=replace(writer.data, source=str(path)))
        assert told(table, name, "cells are separated by") == said


def test_torchtune_has_no_adapter_without_attention(writer):
    """Its builders refuse an empty list of attention layers, so the feed-forward part alone is refused here."""
    alone = replace(writer, candidate=replace(writer.candidate, targets="mlp"))
    with pytest.raises(InvalidValueError, match=r"`candidate\.targets` of a config for torchtune must be one with"):
        export(alone, "torchtune")


CHANGES: dict[str, dict[str, object]] = {
    "candidate": {
        "method": "rslora", "parameters": {"rank": 2, "alpha": 8, "dropout": 0.1}, "targets": "mlp", "layers": "last:2",
        "quantization": "fp4", "dtype": "float16", "optimizer": "lora_plus", "schedule": "cosine",
        "learning_rate": 3e-3, "batch_size": 4, "accumulation": 2, "gradient_checkpointing": False,
    },
    "data": {
        "source": "other.jsonl", "columns": {"prompt": "prompt", "input": "context", "completion": "completion"},
        "token_limit": 20, "fractions": (0.6, 0.2, 0.2), "seed": 5, "class_weights": (1.0, 2.0), "metric": "loss",
    },
    "training": {
        "epochs": 3.0, "warmup_share": 0.2, "weight_decay": 0.1, "max_gradient_norm": 0.5, "seed": 11,
    },
}  # fmt: skip
"""Another value for each key of a tuned config."""

OF_A_HEAD: dict[str, dict[str, object]] = {
    "candidate": {"gradient_checkpointing": True},
    "data": {"labels": ("pos", "neg"), "columns": {"text": "review"}},
    "training": {"head_seed": 9},
}
"""What matters beside them where a fresh head is trained."""

NO_CHOICE = {"candidate": {"layer_indices"}, "data": {"task"}, "training": {"steps"}}
"""What follows from the other keys, and what is refused."""


@pytest.mark.parametrize("name", sorted(all_targets()))
def test_no_key_is_dropped_in_silence(name, writer, classifier):
    """Whatever key of a config changes, the file changes, or a sentence says so, or the tool is said to lack it."""
    reads_any_task = name not in LANGUAGE
    config, changes = (classifier, OF_A_HEAD) if reads_any_task else (writer, {})
    base, silent = export(config, name), []
    for part, others in CHANGES.items():
        others = {**others, **changes.get(part, {})}
        whole = getattr(config, part)
        assert {*others, *NO_CHOICE[part]} >= {field.name for field in fields(whole)} - {"labels", "head_seed"}
        for key, value in others.items():
            assert getattr(whole, key) != value, key
            try:
                made = export(replace(config, **{part: replace(whole, **{key: value})}), name)
            except InvalidValueError:
                continue
            silent += [] if made != base else [key]
    assert silent == []


@pytest.mark.parametrize("name", LANGUAGE)
def test_what_is_learnt_of_a_chat_is_said(writer, name):
    """How rows become text, and which of their tokens count, is each tool's own: said, and set where there is a key."""
    if name != "ludwig":
        chats = export(replace(writer, data=replace(writer.data, columns={"messages": "messages"})), name)
        assert any("loss on the last assistant turn alone" in sentence for sentence in chats.unsupported)
        assert ("mask_history: true" in chats.text) == (name == "llamafactory")
    assert any("go through the tokenizer's chat template" in sentence for sentence in export(writer, name).unsupported)


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_target_that_lacks_the_method_or_the_task_is_refused(writer, classifier, name):
    """A method that a tool has not, and a task that it does not train, are one error each."""
    other = replace(writer, candidate=Candidate(method="bitfit", targets="none", learning_rate=1e-3))
    with pytest.raises(
        InvalidValueError, match=r"`candidate.method` of a config for .* which is what it has; got 'bitfit'"
    ):
        export(other, name)
    with pytest.raises(InvalidValueError, match=r"`model.task` of a config for .*; got 'classification'"):
        export(classifier, name)


def test_peft_lacks_methods_too(writer):
    """A method that is not peft's has no adapter_config.json."""
    other = replace(writer, candidate=Candidate(method="bitfit", targets="none", learning_rate=1e-3))
    with pytest.raises(InvalidValueError, match="a method that peft has"):
        export(other, "peft")
    with pytest.raises(InvalidValueError, match="Did you mean 'trl'"):
        export(other, "trll")


def test_llamafactory_gets_its_data_beside_it(writer):
    """The dataset that its file names is described by the companion, with the columns as they are called."""
    made = export(writer, "llamafactory")
    name = yaml.safe_load(made.text)["dataset"]
    entry = json.loads(made.companions["dataset_info.json"])[name]
    assert entry["columns"] == {"prompt": "prompt", "response": "completion"}
    assert yaml.safe_load(made.text)["use_reentrant_gc"] is False  # as what was estimated and tried


def test_another_base_model_is_refused(writer, tmp_path):
    """A config whose source is not the tuned model any more is not exported."""
    other = tiny_model_folder("gpt2", tmp_path / "other", weights=False)
    with pytest.raises(ModelError, match="must be the model that was tuned"):
        export(replace(writer, model=replace(writer.model, source=str(other))), "trl")


def test_a_config_whose_method_is_gone_is_refused_by_every_target(writer):
    """A method that is no longer installed is one error, whatever it was to be exported to."""
    gone = replace(writer, candidate=replace(writer.candidate, method="gone.package:METHOD"))
    for target in all_targets():
        with pytest.raises(InvalidValueError, match="must be an importable module or a catalogue name"):
            export(gone, target)
