"""Rules of `read_model`: the profile is the real model's structure, and bad models get one clear error."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autopeft.errors import InvalidValueError, ModelError
from autopeft.methods._targets import ROLES, linear_modules
from autopeft.profiling.model import default_task, read_model
from autopeft.values.names import Task
from tests.profiling.architectures import CONFIGS, config_of

CASES = [
    ("bert", "classification", 3, "AutoModelForSequenceClassification"),
    ("bert", "token-classification", 5, "AutoModelForTokenClassification"),
    ("llama", "classification", 3, "AutoModelForSequenceClassification"),
    ("llama", "generation", 2, "AutoModelForCausalLM"),
    ("gpt2", "regression", 2, "AutoModelForSequenceClassification"),
    ("gpt2", "generation", 2, "AutoModelForCausalLM"),
    ("t5", "seq2seq", 2, "AutoModelForSeq2SeqLM"),
]
LAYER_ROLES = {
    "bert": {"query", "key", "value", "output", "up", "down"},
    "llama": {"query", "key", "value", "output", "gate", "up", "down"},
    "gpt2": {"qkv", "output", "up", "down"},
    "t5": {"query", "key", "value", "output", "up", "down"},
}
# Not a part of attention or of a feed-forward block that adapters are asked for by group.
OF_NO_GROUP = {"pos_key_proj", "pos_query_proj", "shared_expert_gate"}
SEQ2SEQ_ONLY = {"marian", "pegasus"}


def real_model(folder: Path, auto_class: str, task: Task, labels: int) -> Any:
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    config.num_labels = 1 if task == "regression" else labels
    torch.manual_seed(0)
    return getattr(transformers, auto_class).from_config(config)


def folder_with(tmp_path: Path, config: dict[str, Any]) -> str:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


@pytest.mark.parametrize(("name", "task", "labels", "auto_class"), CASES)
def test_profile_is_the_real_model(tiny_models, name, task: Task, labels, auto_class):
    """Totals, names, shapes, biases and own parameters are those of the model that the task builds."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    profile = read_model(str(tiny_models[name]), task, labels)
    model = real_model(tiny_models[name], auto_class, task, labels)
    assert profile.architecture == type(model).__name__
    assert profile.parameters == sum(p.numel() for p in model.parameters())
    modules = dict(model.named_modules())
    assert sum(m.parameters for m in profile.modules) == profile.parameters
    assert {m.name for m in profile.modules} == {n for n, m in modules.items() if list(m.parameters(recurse=False))}
    linear = {n for n, m in modules.items() if isinstance(m, nn.Linear | Conv1D)}
    assert linear == {m.name for m in profile.modules if m.kind in ("linear", "conv1d")}
    for shape in (m for m in profile.modules if m.name in linear):
        weight = modules[shape.name].weight
        sizes = weight.shape if shape.kind == "conv1d" else weight.shape[::-1]
        assert (shape.in_features, shape.out_features) == tuple(sizes), shape
        assert shape.bias == (modules[shape.name].bias is not None), shape


@pytest.mark.parametrize("name", list(LAYER_ROLES))
def test_every_layer_has_every_role(tiny_models, name):
    """Each layer holds the roles of its architecture, and no linear module in it is left without one."""
    task: Task = "seq2seq" if name == "t5" else "classification"
    profile = read_model(str(tiny_models[name]), task)
    for layer in range(profile.layers):
        assert {m.role for m in linear_modules(profile) if m.layer == layer} == LAYER_ROLES[name]


@pytest.mark.parametrize(
    ("name", "task", "head", "fresh"),
    [
        ("bert", "classification", {"classifier"}, True),
        ("llama", "classification", {"score"}, True),
        ("llama", "generation", set(), False),
        ("t5", "seq2seq", set(), False),
    ],
)
def test_head_is_what_starts_untrained(tiny_models, name, task, head, fresh):
    """Only modules outside the base of a class with a fresh head are the head; never a pooler or `lm_head`."""
    profile = read_model(str(tiny_models[name]), task, 3)
    assert set(profile.head_modules) == head
    assert (profile.head_parameters > 0) is fresh
    assert all(m.role == "head" for m in profile.modules if m.name == "lm_head")


def test_tied_weights_count_once(tiny_models):
    """GPT-2's output embedding is listed, with nothing left to count."""
    profile = read_model(str(tiny_models["gpt2"]), "generation")
    output = next(m for m in profile.modules if m.name == "lm_head")
    assert profile.tied_embeddings
    assert (output.in_features, output.out_features, output.parameters) == (48, 264, 0)


def test_sizes_are_told_apart(tiny_models):
    """Hidden, feed-forward, key-value and head sizes are read each from its own place."""
    llama = read_model(str(tiny_models["llama"]), "classification")
    assert (llama.hidden_size, llama.feed_forward_size, llama.attention_heads) == (48, 80, 4)
    assert (llama.key_value_heads, llama.head_size, llama.vocabulary_size) == (2, 12, 264)
    assert (llama.layers, llama.max_positions, llama.kind, llama.tied_embeddings) == (3, 128, "decoder", False)
    t5 = read_model(str(tiny_models["t5"]), "seq2seq")
    assert (t5.head_size, t5.layers, t5.kind, t5.max_positions) == (10, 6, "seq2seq", None)
    decoder = {m.layer for m in t5.modules if m.name.startswith("decoder.block")}
    assert decoder == {3, 4, 5}


@pytest.mark.parametrize("model_type", list(CONFIGS))
def test_groups_are_known_in_many_architectures(tmp_path, model_type):
    """In every layer attention, qv and mlp select something, and no linear module is without a role."""
    task: Task = "seq2seq" if model_type in SEQ2SEQ_ONLY else "classification"
    profile = read_model(folder_with(tmp_path, config_of(model_type)), task)
    for layer in range(profile.layers):
        within = [m for m in profile.modules if m.layer == layer]
        linear = [m for m in within if m.kind in ("linear", "conv1d")]
        unnamed = [m.name for m in linear if m.role == "other" and m.name.split(".")[-1] not in OF_NO_GROUP]
        assert unnamed == []
        experts = any(m.name.endswith(".experts") for m in within)
        for group, roles in ROLES.items():
            assert any(m.role in roles for m in linear) or (group == "mlp" and experts), group


def test_positions_before_the_first_token_are_reserved(tmp_path):
    """RoBERTa counts positions from its padding id on, so two of 130 are not for tokens."""
    assert read_model(folder_with(tmp_path, config_of("roberta")), "classification").max_positions == 128


def test_experts_are_counted(tmp_path):
    """Experts stacked in one parameter are in the total and said to be out of reach of adapters."""
    profile = read_model(folder_with(tmp_path, config_of("qwen3_moe")), "classification")
    experts = [m for m in profile.modules if m.name.endswith(".experts")]
    assert [m.parameters for m in experts] == [4 * 3 * 48 * 56] * 3
    assert profile.feed_forward_size == 56
    assert any("experts" in note for note in profile.notes)


def test_second_call_imports_no_torch(tiny_models, cache):
    """A model seen before costs neither torch nor transformers."""
    folder = str(tiny_models["bert"])
    first = read_model(folder, "classification")
    code = (
        "import sys; from autopeft.profiling.model import read_model;"
        f"print(read_model({folder!r}, 'classification').parameters,"
        "sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 1) == [str(first.parameters), "[]\n"]
    assert read_model(folder, "classification") == first


@pytest.mark.parametrize("content", ["", "{", '{"source": 3}'])
def test_corrupt_cache_is_made_anew(tiny_models, cache, content):
    """A kept profile that is cut short is ignored and written over."""
    folder = str(tiny_models["bert"])
    first = read_model(folder, "classification")
    [kept] = list((cache / "models").iterdir())
    kept.write_text(content)
    assert read_model(folder, "classification") == first
    assert json.loads(kept.read_text())["parameters"] == first.parameters


def test_labels_and_task_are_part_of_the_key(tiny_models):
    """A profile kept for two labels is not handed out for three."""
    two, three = (read_model(str(tiny_models["bert"]), "classification", n) for n in (2, 3))
    assert three.parameters - two.parameters == 49
    assert read_model(str(tiny_models["bert"]), "regression").labels == 1


def test_weights_are_measured_on_disk(tiny_models, tmp_path):
    """The size is the file's; a folder with a config alone has none."""
    from autopeft.testing.models import tiny_model_folder

    profile = read_model(str(tiny_models["bert"]), "classification")
    assert profile.weight_format == "safetensors"
    assert profile.weight_bytes == (tiny_models["bert"] / "model.safetensors").stat().st_size
    bare = read_model(str(tiny_model_folder("bert", tmp_path, weights=False)), "classification")
    assert (bare.weight_format, bare.weight_bytes) == ("none", None)


def test_same_model_has_the_same_fingerprint(tiny_models, tmp_path):
    """Where it lies and which version saved it are not part of the fingerprint; its sizes are."""
    content = json.loads((tiny_models["bert"] / "config.json").read_text())
    first = read_model(str(tiny_models["bert"]), "classification").fingerprint
    again = {**content, "transformers_version": "4.0.0", "_name_or_path": "elsewhere"}
    assert read_model(folder_with(tmp_path, again), "classification").fingerprint == first
    assert read_model(folder_with(tmp_path, {**again, "vocab_size": 300}), "classification").fingerprint != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"config\.json is not valid JSON"),
        ("[]", r"must hold a JSON object; got list"),
        ("{}", r"names no `model_type`"),
        ('{"model_type": "berd"}', r"is 'berd', which the installed transformers \d+\.\d+.*\n.*Did you mean 'bert'"),
        (
            '{"model_type": "zzz", "auto_map": {"AutoConfig": "a.B"}}',
            r"type 'zzz' needs code .*\n.*--trust-remote-code",
        ),
        ('{"model_type": "bert", "hidden_size": "many"}', r"is not valid for 'bert'"),
        ('{"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}', r"describes no model .*multiple"),
        ('{"model_type": "marian"}', r"'marian' of .* has no head for the task 'classification'"),
    ],
)
def test_bad_config_gets_one_clear_error(tmp_path, content, message):
    """A config that is no model's says what is wrong with it."""
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=message):
        read_model(str(tmp_path), "classification")


def test_a_model_without_attention_is_refused(tmp_path):
    """State-space models have sizes of their own, which nothing here plans by."""
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "vocab_size": 90, "num_hidden_layers": 1}')
    with pytest.raises(ModelError, match="'mamba' has no attention heads; autopeft is for transformers"):
        read_model(str(tmp_path), "generation")


def test_missing_model_gets_one_clear_error(tmp_path):
    """A folder without config, a path that is not there and a hub name offline are told apart."""
    with pytest.raises(ModelError, match=r"has no config\.json"):
        read_model(str(tmp_path), "classification")
    with pytest.raises(ModelError, match="neither a folder nor a file"):
        read_model(str(tmp_path / "gone"), "classification")
    with pytest.raises(ModelError, match=r"'some/model' is neither a folder here .* HF_HUB_OFFLINE is set"):
        read_model("some/model", "classification")
    (tmp_path / "text.txt").write_text("words")
    with pytest.raises(ModelError, match="a file but no GGUF file"):
        read_model(str(tmp_path / "text.txt"), "classification")


def test_labels_must_be_there(tiny_models):
    """No label, no head."""
    with pytest.raises(InvalidValueError, match="`labels` of the task must be at least 1; got 0"):
        read_model(str(tiny_models["bert"]), "classification", 0)


def test_task_without_data_follows_the_kind(tiny_models):
    """An encoder classifies, a decoder generates, a seq2seq model maps."""
    found = {name: default_task(str(folder)) for name, folder in tiny_models.items()}
    assert found == {"bert": "classification", "llama": "generation", "gpt2": "generation", "t5": "seq2seq"}


def test_default_task_of_a_model_seen_before_imports_no_torch(tiny_models, cache):
    """Knowing the kind of a kept profile is enough to tell the task."""
    folder = str(tiny_models["llama"])
    read_model(folder, "classification")
    code = (
        "import sys; from autopeft.profiling.model import default_task;"
        f"print(default_task({folder!r}), sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "generation []\n"


def test_pair_of_encoder_and_decoder_counts_on(tmp_path):
    """In a pair of BERTs the decoder's layers follow the encoder's, though its own path says `encoder` again."""
    half = {"model_type": "bert", **CONFIGS["roberta"]}
    pair = {"model_type": "encoder-decoder", "encoder": half, "decoder": {**half, "is_decoder": True}}
    profile = read_model(folder_with(tmp_path, pair), "seq2seq")
    layers = {m.layer for m in profile.modules if m.name.startswith("decoder.") and m.layer is not None}
    assert (profile.kind, profile.layers, layers) == ("seq2seq", 6, {3, 4, 5})


def test_vision_tower_has_no_layers_of_the_language_model(tmp_path):
    """Layers of a tower beside the language model are not numbered among its own, so no method selects them."""
    text = {**CONFIGS["gemma3_text"], "model_type": "gemma3_text"}
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "num_hidden_layers": 5, "num_attention_heads": 2,
              "intermediate_size": 40, "image_size": 28, "patch_size": 14}  # fmt: skip
    config = {"model_type": "gemma3", "text_config": text, "vision_config": vision}
    profile = read_model(folder_with(tmp_path, config), "generation")
    tower = [m for m in profile.modules if "vision_tower" in m.name]
    assert (profile.layers, profile.hidden_size) == (3, 48)
    assert len(tower) > 5
    assert {m.layer for m in tower} == {None}
