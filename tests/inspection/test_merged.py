"""An adapter of another kind is inspected by what merging it changes, in the very weights of its base."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.errors import ModelError
from autopeft.inspection import inspect_adapter
from autopeft.inspection.folder import Adapter
from autopeft.inspection.merged import _labels, factors
from autopeft.inspection.spectrum import singular_values
from autopeft.methods import get_method
from autopeft.testing.models import tiny_model_folder
from autopeft.values.candidates import Candidate
from tests.finetune.conftest import tuned_for
from tests.toys import completion_jsonl

CONFIGS = {
    "dora": ("llama", lambda: peft.LoraConfig(r=4, use_dora=True, target_modules=["q_proj", "down_proj"])),
    "loha": ("llama", lambda: peft.LoHaConfig(r=2, target_modules=["q_proj", "down_proj"])),
    "ia3": ("llama", lambda: peft.IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "conv1d": ("gpt2", lambda: peft.LoraConfig(r=4, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)),
}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_the_update_is_that_of_the_merged_model(name, tiny_models, tmp_path):
    """Norm and spectrum of each changed weight are those of merged minus base, whatever made the change."""
    architecture, config = CONFIGS[name]
    load = transformers.AutoModelForCausalLM.from_pretrained
    torch.manual_seed(0)
    attached = peft.get_peft_model(load(tiny_models[architecture]), config(), autocast_adapter_dtype=False)
    with torch.no_grad():
        for parameter in attached.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    attached.save_pretrained(tmp_path)
    before = dict(load(tiny_models[architecture]).named_parameters())
    after = dict(attached.merge_and_unload().named_parameters())
    changed = {key: (after[key] - before[key]).detach() for key in before if not torch.equal(after[key], before[key])}
    found = inspect_adapter(tmp_path)
    layers = {layer.name.removeprefix("base_model.model."): layer for layer in found.layers}
    assert {f"{layer}.weight" for layer in layers} == set(changed)
    assert len(changed) == 6  # two kinds of modules in three layers
    for key, change in changed.items():
        layer = layers[key.removesuffix(".weight")]
        assert layer.norm == pytest.approx(float(change.norm()), rel=1e-4)
        assert layer.spectrum[0] == pytest.approx(float(torch.linalg.matrix_norm(change, 2)), rel=1e-4)
        assert layer.entanglement
    assert any("merging makes" in note for note in found.notes) == (name != "conv1d")


def test_an_embedding_is_read_from_its_factors(tiny_models, tmp_path):
    """Factors of an embedding, which peft names and turns otherwise, are an update like any other module's."""
    load = transformers.AutoModelForCausalLM.from_pretrained
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "embed_tokens"])
    attached = peft.get_peft_model(load(tiny_models["llama"]), config, autocast_adapter_dtype=False)
    with torch.no_grad():
        for parameter in attached.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    attached.save_pretrained(tmp_path)
    embedding = dict(attached.named_modules())["base_model.model.model.embed_tokens"]
    layers = {layer.name: layer for layer in inspect_adapter(tmp_path).layers}
    assert len(layers) == 4
    wanted = embedding.get_delta_weight("default").detach()
    assert layers["model.embed_tokens"].norm == pytest.approx(float(wanted.norm()), rel=1e-4)
    assert layers["model.embed_tokens"].rank == 4


def test_experts_are_looked_at_one_by_one(tmp_path):
    """A stack of experts shares two factors: each expert's update is that of the merged model, not their product's."""
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=3,
    )  # fmt: skip
    model = transformers.MixtralForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    targets = peft.LoraConfig(
        r=2, target_modules=["q_proj"], target_parameters=["mlp.experts.down_proj"], task_type="CAUSAL_LM"
    )
    attached = peft.get_peft_model(model, targets)
    with torch.no_grad():
        for parameter in attached.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    attached.save_pretrained(tmp_path / "adapter")
    found = inspect_adapter(tmp_path / "adapter", str(tmp_path / "base"))
    layers = {layer.name: layer for layer in found.layers}
    after = attached.merge_and_unload().state_dict()
    for layer in range(2):
        name = f"model.layers.{layer}.mlp.experts.down_proj"
        for expert in range(3):
            change = after[name][expert] - before[name][expert]
            assert layers[f"{name}[{expert}]"].norm == pytest.approx(float(change.norm()), rel=1e-3)
            assert layers[f"{name}[{expert}]"].rank == 2
    assert len(layers) == 2 * (1 + 3)
    assert {layer.module for layer in found.layers} == {"self_attn.q_proj", "mlp.experts.down_proj"}
    alone = inspect_adapter(tmp_path / "adapter", str(tmp_path / "gone"))
    assert [layer.module for layer in alone.layers] == ["self_attn.q_proj"] * 2
    assert any("With `target_parameters` the update is more than the pairs" in note for note in alone.notes)


def test_a_convolution_is_read_from_its_factors(tmp_path):
    """A kernel's axes belong to the first factor: the update's norm is that of the product."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(0)
    down, up = generator.normal(size=(4, 6, 3)), generator.normal(size=(8, 4, 1))
    pair = {"base_model.model.conv.lora_A.weight": down, "base_model.model.conv.lora_B.weight": up}
    save_file(
        {name: tensor.astype(np.float32) for name, tensor in pair.items()}, tmp_path / "adapter_model.safetensors"
    )
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 8, "r": 4}')
    (layer,) = inspect_adapter(tmp_path).layers
    assert layer.norm == pytest.approx(2 * np.linalg.norm(np.einsum("or,rik->oik", up[:, :, 0], down)), rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(5, 20), st.integers(5, 20), st.integers(0, 99))
def test_factors_give_the_matrix_back(rank, rows, columns, seed):
    """Both ways round, the factors' product is the matrix, and their number is its rank."""
    generator = np.random.default_rng(seed)
    matrix = generator.normal(size=(rows, rank)) @ generator.normal(size=(rank, columns))
    pair = factors("x", matrix)
    assert np.allclose(pair.up @ pair.down, matrix, atol=1e-2 * np.linalg.norm(matrix))
    values = np.linalg.svd(matrix, compute_uv=False)
    assert len(pair.down) == (values > 1e-3 * values[0]).sum()
    assert np.allclose(singular_values(pair.down, pair.up, 1.0), values[: len(pair.down)], rtol=1e-4)


def test_what_a_config_names_besides_is_not_opened(tiny_models, tmp_path, monkeypatch):
    """A module that peft would import, and a type that this peft has not, are said; neither is run."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_models["llama"])
    dora = peft.LoraConfig(r=2, use_dora=True, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, dora).save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    (tmp_path / "named.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    path.write_text(json.dumps({**config, "megatron_config": {"a": 1}, "megatron_core": "named"}))
    assert "names other files or modules (megatron_config)" in inspect_adapter(tmp_path).notes[0]
    assert not (tmp_path / "ran").exists()
    path.write_text(json.dumps({**config, "peft_type": "NEWER"}))
    assert f"peft {peft.__version__} has no NEWER." in inspect_adapter(tmp_path).notes


def test_another_base_is_one_error(tiny_models, tmp_path):
    """An adapter is not merged into a model without its modules."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_models["llama"])
    dora = peft.LoraConfig(r=2, use_dora=True, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(model, dora).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"is not one of the base model .*gpt2"):
        inspect_adapter(tmp_path, base=str(tiny_models["gpt2"]))


def test_without_its_base_an_adapter_has_what_its_file_tells(tiny_models, tmp_path):
    """A base that is not here, and prompts, which change no weight, are said; the norms are there all the same."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_models["llama"])
    peft.get_peft_model(model, peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[])).save_pretrained(
        tmp_path / "ia3"
    )
    gone = inspect_adapter(tmp_path / "ia3", base=str(tmp_path / "gone"))
    assert "cannot be loaded" in gone.notes[0]
    assert len(gone.norms) == 3
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_models["llama"])
    prompts = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    peft.get_peft_model(model, prompts).save_pretrained(tmp_path / "prompts")
    soft = inspect_adapter(tmp_path / "prompts")
    assert "changes no weight" in soft.notes[0]
    assert list(soft.norms) == ["prompt_embeddings"]


def test_what_was_trained_in_half_precision_is_merged_in_single(tiny_models, tmp_path):
    """The update is read to the same digits whatever dtype the training computed in, which its own merge rounds to."""
    pairs = completion_jsonl(tmp_path / "pairs.jsonl")
    parameters = {"rank": 2, "alpha": 4, "dropout": 0.0}
    dora = Candidate(method="dora", parameters=parameters, targets="qv", learning_rate=1e-3)
    tuned = tuned_for(tiny_models["llama"], pairs, "generation", dora)
    model, _ = tuned.load_model(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.01 * torch.randn_like(parameter)
    norms = []
    for dtype in ("float32", "bfloat16"):
        get_method("dora").save(model, tmp_path / dtype)
        replace(tuned, candidate=replace(dora, dtype=dtype)).save(tmp_path / dtype / "tuned.yaml")
        norms.append([layer.norm for layer in inspect_adapter(tmp_path / dtype).layers])
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)


def test_a_training_without_its_base_has_it_too(tiny_models, tmp_path):
    """A base, or its weights, that are not here leave the norms of what was trained; another model is an error."""
    pairs = completion_jsonl(tmp_path / "pairs.jsonl")
    parameters = {"rank": 2, "alpha": 4, "dropout": 0.0}
    dora = Candidate(method="dora", parameters=parameters, targets="qv", learning_rate=1e-3)
    tuned = tuned_for(tiny_models["llama"], pairs, "generation", dora)
    folder = tmp_path / "trained"
    get_method("dora").save(tuned.load_model(device="cpu")[0], folder)
    tuned.save(folder / "tuned.yaml")
    bare = Path(shutil.copytree(tiny_models["llama"], tmp_path / "bare"))
    (bare / "model.safetensors").unlink()
    for gone in (tmp_path / "gone", bare):
        found = inspect_adapter(folder, base=str(gone))
        assert "cannot be loaded" in found.notes[0]
        assert found.layers
    other = tiny_model_folder("gpt2", tmp_path / "other", weights=False)
    with pytest.raises(ModelError, match="must be the model that was tuned"):
        inspect_adapter(folder, base=str(other))


def test_a_head_of_several_layers_has_the_outputs_of_its_last():
    """Where a head's layers are saved in the order of their names, the labels are not the last one's rows."""
    heads = {"base_model.model.classifier.weight": (3, 8), "base_model.model.pre_classifier.weight": (8, 8)}
    tensors = {name: np.zeros(shape, np.float32) for name, shape in heads.items()}
    adapter = Adapter(
        kind="LORA", config={"modules_to_save": ["pre_classifier", "classifier"]}, pairs=(), others=tensors
    )
    assert _labels(adapter) == 3
