"""What a tool does in its own way with what it is told: the file allows for it, or a sentence says so."""

import json
import shutil
from dataclasses import replace

import peft
import pytest
import transformers
import yaml

from autopeft.errors import InvalidValueError
from autopeft.export import export
from autopeft.methods import target_modules
from autopeft.testing.models import tiny_model_folder
from tests.export.test_export import told
from tests.finetune.conftest import LORA, tuned_for
from tests.toys import completion_jsonl


def chosen(config, **change):
    """A config with another candidate."""
    return replace(config, candidate=replace(config.candidate, **change))


@pytest.mark.parametrize(
    ("architecture", "change"),
    [("gpt2", {"targets": "c_attn"}), ("llama", {"targets": "q_proj", "layers": "last:1"})],
)
def test_trl_selects_the_one_target(tiny_models, tmp_path, architecture, change):
    """TRL hands peft the text in a list of one, and peft matches a text against whole names."""
    data = completion_jsonl(tmp_path / "pairs.jsonl")
    tuned = tuned_for(tiny_models[architecture], data, "generation", replace(LORA, **change))
    (target,) = yaml.safe_load(export(tuned, "trl").text)["lora_target_modules"]
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_models[architecture])
    attached = peft.get_peft_model(model, peft.LoraConfig(target_modules=target, fan_in_fan_out=False))
    wanted = sorted(module.name for module in target_modules(tuned.setup()))
    assert sorted(attached.base_model.targeted_module_names) == wanted != []


def test_the_cosine_of_ludwig_is_another(writer):
    """Its cosine begins anew every epoch, so it is not taken for the one that falls once."""
    cosine = chosen(writer, schedule="cosine")
    assert yaml.safe_load(export(cosine, "ludwig").text)["trainer"]["learning_rate_scheduler"]["decay"] is None
    assert told(cosine, "ludwig", "The schedule 'cosine' is not expressed")
    assert not told(writer, "ludwig", "The schedule")


def test_what_other_tools_train_in_is_said(writer):
    """LLaMA-Factory takes 16 bits unasked, TRL has no float32 beside codes, and torchtune none beside bf16."""
    single = chosen(writer, dtype="float32", quantization="none")
    half = chosen(writer, dtype="bfloat16", quantization="none")
    whole = chosen(half, method="full", parameters={}, targets="none")
    assert told(single, "llamafactory", "The dtype 'float32' is not expressed")
    assert not told(half, "llamafactory", "dtype")
    assert told(whole, "llamafactory", "Whole weights are trained in float32")
    assert told(writer, "trl", "factors are trained in bfloat16")
    assert not told(half, "trl", "factors are trained in bfloat16")
    assert told(half, "torchtune", "held in bf16 too")
    assert not told(single, "torchtune", "held in bf16 too")


def test_torchtune_has_nf4_with_quantized_scales_alone(writer):
    """Its only 4 bits are nf4, whose scales it always quantizes: of the other nf4 that is said."""
    assert told(writer, "torchtune", "The scales of 'nf4'")
    assert not told(chosen(writer, quantization="nf4-double"), "torchtune", "The scales of")
    for scheme in ("fp4", "int8"):
        with pytest.raises(InvalidValueError, match="none or a kind of nf4"):
            export(chosen(writer, quantization=scheme), "torchtune")


def test_torchtune_is_not_told_of_positions_that_are_scaled(writer, tmp_path):
    """A config from before `rope_type` names its scaling too, which the plain builder would leave out."""
    folder = tiny_model_folder("llama", tmp_path / "scaled", weights=False)
    path = folder / "config.json"
    config = {key: value for key, value in json.loads(path.read_text()).items() if key != "rope_parameters"}
    path.write_text(json.dumps({**config, "rope_scaling": {"type": "linear", "factor": 2.0}}))
    with pytest.raises(InvalidValueError, match="as its builders make them"):
        export(tuned_for(folder, writer.data.source, "instruction", writer.candidate), "torchtune")


def test_torchtune_reads_an_older_llamas_tokenizer(writer, tiny_models, tmp_path):
    """A Llama of before the third has its tokenizer's model beside its weights, and in another format."""
    folder = shutil.copytree(tiny_models["llama"], tmp_path / "llama2")
    (folder / "tokenizer.model").touch()
    older = replace(writer, model=replace(writer.model, source=str(folder)))
    read = yaml.safe_load(export(older, "torchtune").text)["tokenizer"]
    assert read["_component_"] == "torchtune.models.llama2.llama2_tokenizer"
    assert read["path"] == str(folder / "tokenizer.model")
    published = folder / "original" / "tokenizer.model"
    published.parent.mkdir()
    published.touch()
    assert yaml.safe_load(export(older, "torchtune").text)["tokenizer"]["path"] == str(published)


def test_projected_gradients_are_told_with_what_is_projected(writer, tmp_path):
    """The trainer's own GaLore refuses to start without its targets, and has another rank unless it is told."""
    full = chosen(
        writer, method="full", parameters={}, targets="none", quantization="none", optimizer="galore", dtype="float32"
    )
    for name, wanted in (("trl", "all-linear"), ("llamafactory", "all-linear"), ("axolotl", "all_linear")):
        content = yaml.safe_load(export(full, name).text)
        assert content["optim_target_modules"] == wanted
        assert "rank=16" in content["optim_args"]
        assert told(full, name, "needs the package galore_torch")
    path = tmp_path / "arguments.json"
    path.write_text(export(full, "transformers").text)
    (read,) = transformers.HfArgumentParser(transformers.TrainingArguments).parse_json_file(str(path))
    assert (read.optim, read.optim_target_modules) == ("galore_adamw", "all-linear")
