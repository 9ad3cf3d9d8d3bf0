"""What batches say about the targeted modules: in bounded memory, of text alone, and of no module that they miss."""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from autopeft.errors import ModelError
from autopeft.methods import _from_data, _starts, get_method
from autopeft.methods._from_data import covariances, gradients
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attach, attached, difference, logits, train
from autopeft.testing.cases import Case, make_case
from autopeft.values.names import Task

FROM_DATA = ("eva", "corda", "lora_ga")


def case_of(name: str, tiny_models, architecture: str = "llama", task: Task = "generation") -> Case:
    return make_case(get_method(name), architecture, task, tiny_models[architecture], read_model)


def lora(tiny_models, architecture: str, task: Task):
    """(LoRA on a tiny model, its case)."""
    case = case_of("lora", tiny_models, architecture, task)
    return attached(get_method("lora"), case), case


@pytest.mark.parametrize("see", [covariances, gradients])
def test_few_matrices_are_held_at_once(see, tiny_models, monkeypatch):
    """All of them together outgrow the model: a pass holds what its bound allows, and all passes see the same."""
    model, case = lora(tiny_models, "llama", "generation")
    batches = [case.batch(), case.batch()]
    at_once = dict(see(model, batches, "float32"))
    largest = 4 * max(value.numel() for value in at_once.values())
    monkeypatch.setattr(_from_data, "PASS_BYTES", 2 * largest)
    taken = []
    one_pass = "_covariances" if see is covariances else "_gradients"
    original = getattr(_from_data, one_pass)

    def followed(*arguments):
        found = original(*arguments)
        taken.append(sum(4 * value.numel() for value in found.values()))
        return found

    monkeypatch.setattr(_from_data, one_pass, followed)
    in_parts = dict(see(model, batches, "float32"))
    assert len(taken) > 1
    assert max(taken) <= 2 * largest
    assert in_parts.keys() == at_once.keys()
    assert all(torch.allclose(value, at_once[name], atol=1e-6) for name, value in in_parts.items())


def test_padding_of_choices_is_not_seen(tiny_models):
    """A row of multiple choice is several rows inside the model, and its mask has the choices apart."""
    model, case = lora(tiny_models, "bert", "multiple-choice")
    batch = dict(case.batch())
    tokens, mask = batch["input_ids"], batch["attention_mask"]
    assert mask.dim() == 3
    whole = dict(covariances(model, [batch], "float32"))
    assert whole
    batch["input_ids"] = tokens.masked_fill(mask == 0, 77)
    for name, value in covariances(model, [batch], "float32"):
        assert torch.allclose(value, whole[name], atol=1e-5)


@pytest.mark.parametrize("length", [6, 12])
def test_a_decoder_beside_an_encoder_sees_its_own_padding(length, tiny_models):
    """Its text is the labels': the encoder's mask says nothing of it, though it may be as long."""
    model, case = lora(tiny_models, "t5", "seq2seq")
    batch = dict(case.batch())
    tokens = torch.randint(5, 264, (2, length))
    batch["labels"] = torch.cat([tokens[:, :4], torch.full((2, length - 4), -100)], dim=1)
    padded = dict(covariances(model, [batch], "float32"))
    batch["labels"] = tokens[:, :4].contiguous()
    own = [name for name in padded if "decoder" in name.split(".") and "EncDecAttention" not in name]
    bare = dict(covariances(model, [batch], "float32"))
    assert own
    assert all(torch.allclose(padded[name], bare[name], atol=1e-5) for name in own)


def _skip_last_layer(model):
    """Lets no batch reach the last layer's modules, as none reaches an expert that no router chooses."""
    layer = model.get_base_model().model.layers[-1]
    layer.forward = lambda hidden_states, *_args, **_options: hidden_states
    return layer


@pytest.mark.parametrize("name", FROM_DATA)
def test_a_module_that_no_batch_calls_starts_as_loras(name, tiny_models, tmp_path):
    """The others start from what they see, and what is saved fits the unchanged base, in plain peft too."""
    method, case = get_method(name), case_of(name, tiny_models)
    torch.manual_seed(0)
    model = method.apply(case.build(), case.setup)
    layer = _skip_last_layer(model)
    assert method.prepare is not None
    method.prepare(model, case.setup, [case.batch()])
    del layer.forward
    product = {key: _starts.scaling_of(one) * (one.lora_B["default"].weight @ one.lora_A["default"].weight)
               for key, one in _starts.layers(model)}  # fmt: skip
    assert not any(value.any() for key, value in product.items() if ".layers.2." in key)
    assert name == "eva" or all(value.any() for key, value in product.items() if ".layers.0." in key)
    train(replace(method, prepare=None), model, case)
    method.save(model, tmp_path)
    loaded = method.load(case.build(), case.setup, tmp_path)
    assert difference(logits(loaded, case), logits(model, case)) < 1e-5
    plain = PeftModel.from_pretrained(case.build(), tmp_path)
    assert difference(logits(plain, case), logits(model, case)) < 1e-5


@pytest.mark.parametrize("name", ["corda", "lora_ga"])
def test_a_second_start_is_refused(name, tiny_models, tmp_path):
    """A second product taken out of the weight would be in no checkpoint: it is said instead of computed with."""
    method, case = get_method(name), case_of(name, tiny_models)
    model = attach(method, case, case.build())
    assert method.prepare is not None
    with pytest.raises(ModelError, match="started already"):
        method.prepare(model, case.setup, [case.batch()])
    method.save(model, tmp_path)
    loaded = method.load(case.build(), case.setup, tmp_path)
    with pytest.raises(ModelError, match="not after loading"):
        method.prepare(loaded, case.setup, [case.batch()])
    assert difference(logits(loaded, case), logits(model, case)) < 1e-5


def test_small_gradients_are_scaled_in_float16(tiny_models, monkeypatch):
    """float16 has no number below 6e-8, where gradients of deep layers lie: the loss is multiplied before."""
    model, case = lora(tiny_models, "llama", "generation")
    wanted = dict(gradients(model, [case.batch()], "float32"))
    model = model.to(torch.float16)

    def agreement():
        found = dict(gradients(model, [case.batch()], "float16"))
        one = torch.nn.functional.cosine_similarity
        return min(float(one(found[name].flatten(), value.flatten(), dim=0)) for name, value in wanted.items())

    assert agreement() > 0.99
    monkeypatch.setattr(_from_data, "_SCALE", 2.0**-16)
    assert agreement() < 0.9
