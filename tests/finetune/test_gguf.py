"""A trained decoder goes to llama.cpp's converter, merged, and Ollama is told the prompts of its training."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from autopeft.errors import InvalidValueError, StudyError
from autopeft.finetune import train
from autopeft.finetune.gguf import ConverterError, write_gguf
from autopeft.finetune.modelfile import Turns, chat_turns, completion_turns, modelfile, spoken
from autopeft.tasks import chat_text
from autopeft.testing.models import tiny_tokenizer
from autopeft.tuned import TunedConfig
from tests.environments import CACHE, converter_folder
from tests.finetune.conftest import LORA, tuned_for
from tests.toys import completion_jsonl

STAND_IN = """
import json, pathlib, sys
folder, *options = sys.argv[1:]
named = dict(zip(options[::2], options[1::2]))
assert json.loads((pathlib.Path(folder) / "config.json").read_text())["model_type"] == "llama"
assert (pathlib.Path(folder) / "tokenizer.json").exists()
assert not (pathlib.Path(folder) / "adapter_config.json").exists()
if named["--outtype"] == "bf16":
    sys.exit("ValueError: this one cannot be converted")
pathlib.Path(named["--outfile"]).write_bytes(b"GGUF" + named["--outtype"].encode())
"""
CHATML = "<|im_start|>{role}\n{content}<|im_end|>\n"


@pytest.fixture
def llama_cpp(tmp_path):
    """A folder with a stand-in for the converter, which checks how it is called."""
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(STAND_IN)
    return folder


def test_the_merged_decoder_is_converted(writer, llama_cpp, tmp_path, monkeypatch):
    """The converter gets a merged model with its tokenizer; what it writes lies beside a Modelfile that names it."""
    made = write_gguf(writer.output, tmp_path / "out", kind="q8_0", llama_cpp=llama_cpp)
    assert Path(made.file).read_bytes() == b"GGUFq8_0"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Modelfile", "model-q8_0.gguf"]
    said = Path(made.modelfile).read_text()
    assert said.startswith("FROM ./model-q8_0.gguf\n")
    assert (
        '{{ if .Prompt }}{{ .Prompt }}\n{{ end }}{{ .Response }}"""' in said
    )  # a completion follows its prompt's line
    assert 'PARAMETER stop "</s>"' in said
    monkeypatch.setenv("LLAMA_CPP", str(llama_cpp))
    assert Path(write_gguf(writer.output, tmp_path / "named").file).read_bytes() == b"GGUFf16"


def test_a_merged_model_that_is_gone_is_made_again(writer, llama_cpp, tmp_path):
    """A copy from the hub comes without it, though its metrics say that the training had merged."""
    copy = Path(shutil.copytree(writer.output, tmp_path / "copy"))
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps({**metrics, "merged": True}))
    assert not (copy / "merged").exists()
    assert Path(write_gguf(copy, tmp_path / "out", llama_cpp=llama_cpp).file).read_bytes() == b"GGUFf16"


def test_a_converter_that_is_missing_or_fails_leaves_nothing(writer, llama_cpp, tmp_path, monkeypatch):
    """No converter, one that fails in its own words, and a folder that is taken are one error each."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    with pytest.raises(ConverterError, match=r"not on the PATH\.\nName llama\.cpp's folder with --llama-cpp"):
        write_gguf(writer.output, tmp_path / "out")
    with pytest.raises(ConverterError, match=r"is not llama\.cpp's folder"):
        write_gguf(writer.output, tmp_path / "out", llama_cpp=tmp_path / "none")
    with pytest.raises(ConverterError, match="this one cannot be converted"):
        write_gguf(writer.output, tmp_path / "out", kind="bf16", llama_cpp=llama_cpp)
    assert [path.name for path in tmp_path.iterdir()] == ["llama.cpp"]
    with pytest.raises(StudyError, match="exists already"):
        write_gguf(writer.output, llama_cpp, llama_cpp=llama_cpp)
    with pytest.raises(StudyError, match="is no folder that may be written to"):
        write_gguf(writer.output, llama_cpp / "convert_hf_to_gguf.py" / "out", llama_cpp=llama_cpp)


def test_what_is_no_decoder_is_refused(finished, writer, tmp_path, llama_cpp):
    """A classifier, an unknown type of weights, and a method that does not merge are refused before any work."""
    with pytest.raises(InvalidValueError, match=r"`model\.task` of the export to GGUF"):
        write_gguf(finished.output, tmp_path / "out", llama_cpp=llama_cpp)
    with pytest.raises(InvalidValueError, match="`--gguf-type` of the export to GGUF must be one of f32"):
        write_gguf(writer.output, tmp_path / "out", kind="q4", llama_cpp=llama_cpp)
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "metrics.json").write_bytes((Path(writer.output) / "metrics.json").read_bytes())
    tuned = TunedConfig.load(Path(writer.output) / "tuned.yaml")
    soft = replace(LORA, method="prompt_tuning", parameters={"virtual_tokens": 4}, targets="none")
    replace(tuned, candidate=soft).save(folder / "tuned.yaml")
    with pytest.raises(InvalidValueError, match="does not merge"):
        write_gguf(folder, tmp_path / "out", llama_cpp=llama_cpp)


def chatml(messages, answering, default=""):
    """A template as many models have it, with a default system text where one is given."""
    if default and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": default}, *messages]
    return "".join(CHATML.format(**m) for m in messages) + ("<|im_start|>assistant\n" if answering else "")


@pytest.mark.parametrize("default", ["", "You are helpful."])
def test_ollama_speaks_as_training_did(default):
    """The turns read off a chat template give its very text, with a system's text or the default one, over turns."""

    def render(messages, answering):
        return "<s>" + chatml(messages, answering, default)

    turns = chat_turns(render, "<s>")
    assert turns is not None
    assert turns.default == default
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    assert "<s>" + spoken(turns, talk) == render(talk, True)
    assert "<s>" + spoken(turns, talk[1:]) == render(talk[1:], True)
    said = modelfile("model.gguf", turns, ("<|im_end|>",))
    user = "{{ if .Prompt }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n{{ end }}"
    assert f"{user}{{{{ .Response }}}}<|im_end|>\n" in said
    assert ('SYSTEM """You are helpful."""' in said) == bool(default)


TALK = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
]
SYSTEM = {"role": "system", "content": "Be brief."}


def test_what_stands_ahead_of_the_last_answer_alone_stands_there_alone():
    """A template that has a model think before its answer, and drops that later, is written as it is."""

    def thinking(messages, answering):
        found = chatml(messages[:-1], answering=False) + chatml(messages[-1:], answering)
        if answering:
            return found + "<think>\n"
        return found.replace("assistant\n" + messages[-1]["content"], f"assistant\n<think>\n{messages[-1]['content']}")

    turns = chat_turns(thinking, "")
    assert turns is not None
    assert (turns.between, turns.answered) == (
        "<|im_end|>\n<|im_start|>assistant\n<think>\n",
        "<|im_end|>\n<|im_start|>assistant\n",
    )
    for talk in (TALK[:1], TALK, [SYSTEM, *TALK]):
        assert spoken(turns, talk) == thinking(talk, True)
    said = modelfile("model.gguf", turns, ())
    assert "{{ .Content }}{{ if $last }}<|im_end|>\n<|im_start|>assistant\n<think>\n{{ else }}" in said
    assert "{{ if not $last }}<|im_end|>\n{{ end }}" in said


def test_a_system_text_may_stand_within_the_first_turn():
    """A template without a turn of the system's own has its text where it puts it, not in a turn of its own."""

    def merging(messages, answering):
        if messages[0]["role"] == "system":
            first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            messages = [first, *messages[2:]]
        return chatml(messages, answering)

    turns = chat_turns(merging, "")
    assert turns is not None
    assert spoken(turns, [SYSTEM, *TALK]) == merging([SYSTEM, *TALK], True)
    within = "<|im_start|>user\n{{ if .System }}{{ .System }}\n\n{{ end }}{{ .Prompt }}"
    assert within in modelfile("model.gguf", turns, ())


def test_a_template_that_refuses_a_system_turn_has_no_place_for_one():
    """A model that knows no system turn is spoken to without one, and its other turns as in training."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    turns = chat_turns(lambda messages, answering: chat_text(messages, tokenizer, answering=answering), "")
    assert turns is not None
    assert turns.system is None
    assert spoken(turns, TALK) == chat_text(TALK, tokenizer, answering=True)


def test_a_template_that_turns_cannot_say_is_left_to_ollama():
    """Where earlier turns are rewritten, or marks of Go's own stand in the text, no template is written."""

    def forgetful(messages, answering):
        return chatml(messages[-1:], answering)

    assert chat_turns(forgetful, "") is None
    assert chat_turns(lambda messages, answering: chatml(messages, answering).replace("<|", "{{"), "") is None
    assert modelfile("m.gguf", None, ()) == "FROM ./m.gguf\n"
    assert completion_turns("\n") == Turns(system=None, before="", between="\n", after="")


@pytest.mark.slow
def test_the_real_converter_writes_a_file_that_gives_the_same_logits(tmp_path, monkeypatch):
    """A small decoder with a real tokenizer, trained and converted, is read back as the merged model that it was."""
    import torch
    import transformers

    source = CACHE / "smollm2"
    if not source.exists():
        pytest.skip("needs: autopeft fetch smollm2 --into .cache")
    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    base = tmp_path / "base"
    transformers.LlamaForCausalLM(config).save_pretrained(base)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(base)
    pairs = completion_jsonl(tmp_path / "pairs.jsonl", rows=60)
    tuned = tuned_for(base, pairs, "instruction", LORA, epochs=0.5)
    trained = train(tuned, pairs, tmp_path / "trained", merge=True)
    converter = converter_folder()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(converter), os.environ.get("PYTHONPATH", "")]))
    made = write_gguf(trained.output, tmp_path / "gguf", kind="f32", llama_cpp=converter)
    read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "gguf", gguf_file=Path(made.file).name)
    merged = transformers.AutoModelForCausalLM.from_pretrained(Path(trained.output) / "merged")
    tokens = torch.tensor([[1, 17, 300, 4021]])
    with torch.no_grad():
        assert torch.allclose(read(tokens).logits, merged(tokens).logits, atol=1e-4)
    assert "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n" in Path(made.modelfile).read_text()
