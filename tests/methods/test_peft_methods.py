"""What single methods of peft need beyond the contract: its traps, each found by trying."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.errors import InvalidValueError, ModelError
from autopeft.methods import baseline, get_method
from autopeft.methods.lokr import factors
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached, difference, logits, train
from autopeft.testing.cases import Case, altered, build, example, make_case
from autopeft.values.candidates import Setup
from autopeft.values.names import Task
from autopeft.values.profiles import ModelProfile

SOFT_PROMPTS = ("p_tuning", "prefix_tuning", "prompt_tuning")


@cache
def _read(folder: str, task: Task, labels: int) -> ModelProfile:
    return read_model(folder, task, labels or 1)


def _case(name: str, architecture: str, task: Task, folders: Mapping[str, Path]) -> Case:
    return make_case(get_method(name), architecture, task, folders[architecture], _read)


def _setup(name: str, architecture: str, task: Task, folders: Mapping[str, Path]) -> Setup:
    method = get_method(name)
    return Setup(model=_read(str(folders[architecture]), task, 3), task=task, candidate=example(method))


def test_the_default_recipe_is_the_one_that_searches_compare_with():
    """Default LoRA is rank 16, alpha 32, no dropout, all linear layers, 2e-4."""
    name, seed = baseline("default")
    assert name == "lora"
    assert dict(seed.parameters) == {"rank": 16, "alpha": 32, "dropout": 0.0}
    assert (seed.learning_rate, seed.targets) == (2e-4, "all-linear")


@pytest.mark.parametrize("task", ["multiple-choice", "token-classification", "regression"])
def test_lora_trains_heads_that_peft_has_no_word_for(task, tiny_models):
    """Multiple choice has no task type in peft, yet its head trains beside the adapter."""
    import torch

    setup = _setup("lora", "bert", task, tiny_models)
    model = get_method("lora").apply(build(tiny_models["bert"], task, "encoder", setup.model.labels), setup)
    tokens = torch.randint(5, 264, (2, 4, 9)) if task == "multiple-choice" else torch.randint(5, 264, (2, 9))
    labels = {"multiple-choice": torch.tensor([3, 0]), "token-classification": torch.ones_like(tokens),
              "regression": torch.tensor([0.1, 0.9])}[task]  # fmt: skip
    model(input_ids=tokens, labels=labels).loss.backward()
    trained = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    assert any("classifier" in name for name in trained)
    assert any("lora_B" in name for name in trained)


@pytest.mark.parametrize("name", SOFT_PROMPTS)
def test_soft_prompts_refuse_multiple_choice(name, tiny_models):
    """Peft puts no prompt before choices; the words say what can be trained instead."""
    setup = _setup(name, "bert", "multiple-choice", tiny_models)
    assert "cannot train multiple-choice" in get_method(name).violations(setup)[0]


@pytest.mark.parametrize("name", ["p_tuning", "prompt_tuning"])
def test_prompts_on_a_decoder_with_a_head_are_refused_because_of_padding(name, tiny_models):
    """Behind a prompt a decoder's head would read padding: shown for peft, hence said beforehand."""
    import torch
    from peft import PromptTuningConfig, get_peft_model

    setup = _setup(name, "llama", "classification", tiny_models)
    assert "would read padding" in get_method(name).violations(setup)[0]
    model = get_peft_model(
        build(tiny_models["llama"], "classification", "decoder", 3),
        PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3),
    ).eval()
    row = torch.randint(5, 264, (1, 6))
    padded = torch.cat([row, torch.zeros(1, 3, dtype=torch.long)], dim=1)
    mask = (padded > 0).long()
    alone = model(input_ids=row, attention_mask=torch.ones_like(row)).logits
    assert difference(alone, model(input_ids=padded, attention_mask=mask).logits) > 1e-3


def test_a_prefix_on_a_decoder_with_a_head_does_not_depend_on_padding(tiny_models):
    """A prefix leaves the input's ids in place, so the head finds the last token."""
    import torch

    case = _case("prefix_tuning", "llama", "classification", tiny_models)
    model = attached(get_method("prefix_tuning"), case).eval()
    row = torch.randint(5, 264, (1, 6))
    padded = torch.cat([row, torch.zeros(1, 3, dtype=torch.long)], dim=1)
    mask = (padded > 0).long()
    alone = model(input_ids=row, attention_mask=torch.ones_like(row)).logits
    assert difference(alone, model(input_ids=padded, attention_mask=mask).logits) < 1e-5


def test_a_prefix_reaches_a_decoder_that_still_reads_its_encoder(tiny_models):
    """In an encoder-decoder a prefix extends self-attention and leaves cross-attention to the encoder."""
    case = _case("prefix_tuning", "t5", "seq2seq", tiny_models)
    model = attached(get_method("prefix_tuning"), case)
    before = logits(model, case)
    batch = dict(case.batch())
    batch["input_ids"] = batch["input_ids"].flip(0)
    assert difference(before, logits(model, replace(case, batch=lambda: batch))) > 1e-3


def test_a_prefix_needs_an_encoder_that_takes_keys_and_values(tiny_models):
    """Encoders without a cache are refused by their type, before peft fails inside their forward."""
    setup = _setup("prefix_tuning", "bert", "classification", tiny_models)
    other = replace(setup, model=replace(setup.model, model_type="distilbert"))
    assert get_method("prefix_tuning").violations(setup) == ()
    assert "distilbert takes no keys and values" in get_method("prefix_tuning").violations(other)[0]


def test_a_prompt_must_leave_room_for_text(tiny_models):
    """A prompt as long as the model's positions is refused."""
    case = _case("prompt_tuning", "bert", "classification", tiny_models)
    long = altered(case, "long", parameters={"virtual_tokens": 128})
    assert "128 positions for prompt and text together" in get_method("prompt_tuning").violations(long.setup)[0]


@pytest.mark.parametrize("encoder", ["MLP", "LSTM"])
def test_p_tuning_counts_and_resumes_both_encoders(encoder, tiny_models, tmp_path):
    """The network is counted exactly, and saved beside the prompt that peft keeps of it."""
    method = get_method("p_tuning")
    chosen = {"encoder": encoder, "encoder_hidden": 24, "virtual_tokens": 5}
    case = altered(_case("p_tuning", "bert", "classification", tiny_models), encoder, parameters=chosen)
    model = attached(method, case)
    network = sum(p.numel() for n, p in model.named_parameters() if p.requires_grad and "classifier" not in n)
    assert network == method.trainable(case.setup)
    train(method, model, case)
    method.save(model, tmp_path)
    loaded = method.load(case.build(), case.setup, tmp_path)
    assert train(method, loaded, case) == train(method, model, case)


@pytest.mark.parametrize("name", ["lora", "adalora", "ia3", "vera", "lokr", "prompt_tuning", "p_tuning"])
def test_peft_itself_loads_what_is_saved(name, tiny_models, tmp_path):
    """Saved adapters are peft's own files: servers and `PeftModel.from_pretrained` read them."""
    from peft import PeftModel

    method, case = get_method(name), _case(name, "bert", "classification", tiny_models)
    model = attached(method, case)
    train(method, model, case)
    method.save(model, tmp_path)
    batch = {key: value for key, value in case.batch().items() if key != "labels"}
    unlabelled = replace(case, batch=lambda: batch)
    assert difference(logits(model, case), logits(PeftModel.from_pretrained(case.build(), tmp_path), unlabelled)) < 1e-5


def test_saved_config_lists_names_in_one_order(tiny_models, tmp_path):
    """Peft keeps names in sets and repeats the head's; the file has the same bytes in every process."""
    method, case = get_method("ia3"), _case("ia3", "bert", "classification", tiny_models)
    method.save(attached(method, case), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert list(config) == sorted(config)
    assert len(config["target_modules"]) == 18
    for key in ("target_modules", "feedforward_modules", "modules_to_save"):
        assert config[key] == sorted(set(config[key]))


def test_loading_another_methods_file_is_refused(tiny_models, tmp_path):
    """Peft ignores values that fit nowhere; here that is an error, and so is a folder without a file."""
    lora, ia3 = get_method("lora"), get_method("ia3")
    case, other = (_case(name, "bert", "classification", tiny_models) for name in ("lora", "ia3"))
    with pytest.raises(ModelError, match="holds no saved adapter"):
        lora.load(case.build(), case.setup, tmp_path)
    ia3.save(attached(ia3, other), tmp_path)
    with pytest.raises(ModelError, match="from another model or with other parameters"):
        lora.load(case.build(), case.setup, tmp_path)


def test_adalora_prunes_to_its_budget_and_keeps_it_after_loading(tiny_models, tmp_path):
    """The schedule ends at the target rank on average, and a loaded model trains on with the ranks it has."""
    method, case = get_method("adalora"), _case("adalora", "bert", "classification", tiny_models)
    case = altered(case, "small", parameters={"rank": 1, "initial_rank": 4, "dropout": 0.0})
    model = attached(method, case)
    train(method, model, case, steps=case.setup.total_steps)
    kept = sum(int((p != 0).sum()) for name, p in model.named_parameters() if "lora_E" in name)
    assert kept == 18  # one for each of the six linear modules of three layers
    method.save(model, tmp_path)
    loaded = method.load(case.build(), case.setup, tmp_path)
    assert difference(logits(model, case), logits(loaded, case)) < 1e-5
    train(method, loaded, case, steps=case.setup.total_steps)
    assert sum(p.numel() for name, p in loaded.named_parameters() if "lora_E" in name) == kept


def test_adalora_is_loaded_beside_a_base_of_16_bits(tiny_models, tmp_path):
    """Layers that are cut to their ranks anew train what they trained, in float32, and count their ranks frozen."""
    import torch

    method, case = get_method("adalora"), _case("adalora", "bert", "classification", tiny_models)
    case = altered(case, "small", parameters={"rank": 1, "initial_rank": 4, "dropout": 0.0})
    model = method.apply(case.build().to(torch.bfloat16), case.setup)
    train(method, model, case, steps=case.setup.total_steps)
    method.save(model, tmp_path)
    loaded = method.load(case.build().to(torch.bfloat16), case.setup, tmp_path)
    one, two = ({n: p.dtype for n, p in m.named_parameters() if p.requires_grad} for m in (model, loaded))
    assert one == two


def test_adalora_refuses_a_schedule_that_cannot_run(tiny_models):
    """Too few steps, or nothing to prune, fail inside peft only after training has begun: said before."""
    method, case = get_method("adalora"), _case("adalora", "bert", "classification", tiny_models)
    short = replace(case.setup, total_steps=9)
    assert "at least 10 optimizer steps; got 9" in method.violations(short)[0]
    flat = altered(case, "flat", parameters={"rank": 6, "initial_rank": 6}).setup
    assert "`initial_rank` must be above `rank`" in method.violations(flat)[0]


@given(size=st.integers(1, 5000), factor=st.sampled_from([-1, 1, 2, 4, 8, 16, 32]))
def test_lokr_splits_widths_as_peft_does(size, factor):
    """The arithmetic that counts parameters without peft gives peft's own split."""
    from peft.tuners.lokr.layer import factorization

    assert factors(size, factor) == factorization(size, factor)


def test_lokr_refuses_a_rank_that_peft_would_drop(tiny_models):
    """Where the large factor is small peft uses a full matrix and ignores the rank without a word."""
    method, case = get_method("lokr"), _case("lokr", "bert", "classification", tiny_models)
    dropped = altered(case, "large rank", parameters={"rank": 16})
    assert "from half of that on the rank has no effect" in method.violations(dropped.setup)[0]


def test_a_rank_above_a_layers_width_names_the_layer(tiny_models):
    """The sentence names the module and its smaller dimension."""
    case = altered(_case("lora", "llama", "generation", tiny_models), "wide", parameters={"rank": 25})
    found = get_method("lora").violations(case.setup)
    assert found == ("`rank` is 25, above the smaller dimension 24 of model.layers.0.self_attn.k_proj.",)


def test_every_violation_is_said_at_once(tiny_models):
    """A user who made three mistakes reads all three."""
    case = altered(_case("lora", "bert", "classification", tiny_models), "bad", layers="last:7")
    bad = altered(case, "worse", parameters={"rank": 0, "alpah": 3})
    with pytest.raises(
        InvalidValueError, match=r"(?s)Did you mean 'alpha'.*`rank` must be a whole number.*has 3 layers"
    ):
        get_method("lora").apply(case.build(), bad.setup)


def test_merging_into_a_quantized_base_is_refused(tiny_models):
    """Merging would round the update to the base's codes; the words say how to merge instead."""
    import torch
    from transformers import BitsAndBytesConfig

    method, case = get_method("lora"), _case("lora", "llama", "generation", tiny_models)
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    base = build(tiny_models["llama"], "generation", "decoder", 0, quantization_config=config)
    model = method.apply(base, altered(case, "nf4", quantization="nf4").setup)
    assert method.merge is not None
    with pytest.raises(ModelError, match="Load the base without quantization"):
        method.merge(model)
