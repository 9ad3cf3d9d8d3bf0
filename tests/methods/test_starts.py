"""The initialisations of LoRA start where their papers say, and their checkpoints fit the unchanged base."""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from autopeft.errors import ModelError
from autopeft.methods import _codes, _shifts, _starts, get_method
from autopeft.methods._from_data import covariances, gradients
from autopeft.methods.corda import damped
from autopeft.profiling.model import read_model
from autopeft.quantization import get_quantization, stop_repacking
from autopeft.testing._observe import attach, attached, difference, digests, logits, train
from autopeft.testing.cases import altered, build, make_case
from autopeft.testing.models import tiny_config
from autopeft.training.base import copy_weights, fingerprint, restore_weights

MOVED = ("pissa", "olora", "corda", "lora_ga")
RANK = 4


def case_of(name, tiny_models, architecture="llama", task="generation"):
    return make_case(get_method(name), architecture, task, tiny_models[architecture], read_model)


def started(name, tiny_models, architecture="llama"):
    """(layers after the start, the base's weights before it, both by name)."""
    case = case_of(name, tiny_models, architecture)
    plain = attached(get_method("lora"), case_of("lora", tiny_models, architecture))
    weights = {key: _starts.weight_of(layer).clone() for key, layer in _starts.layers(plain)}
    return dict(_starts.layers(attached(get_method(name), case))), weights


def product(layer):
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return _starts.scaling_of(layer) * (b @ a).detach()


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("name", MOVED)
def test_the_product_and_the_residual_are_the_weight(name, architecture, tiny_models):
    """Nothing is lost: what the factors took out of the weight is what they add; transposed weights too."""
    layers, weights = started(name, tiny_models, architecture)
    assert layers.keys() == weights.keys()
    for key, layer in layers.items():
        assert product(layer).norm() > 1e-3
        assert torch.allclose(_starts.weight_of(layer) + product(layer), weights[key], atol=1e-6)


def test_pissa_takes_the_largest_singular_values(tiny_models):
    """The product is the best approximation of its rank, and the residual keeps the smaller singular values."""
    layers, weights = started("pissa", tiny_models)
    for key, layer in layers.items():
        values = torch.linalg.svdvals(weights[key])
        assert torch.allclose(torch.linalg.svdvals(product(layer))[:RANK], values[:RANK], rtol=1e-4)
        rest = torch.linalg.svdvals(_starts.weight_of(layer))
        assert torch.allclose(rest[: len(values) - RANK], values[RANK:], atol=1e-5)


def test_pissa_starts_as_pefts_own(tiny_models):
    """Where peft has the start too, both give the same product."""
    from peft import get_peft_model

    case = case_of("pissa", tiny_models)
    theirs = get_peft_model(case.build(), get_method("pissa").peft_config(case.setup))
    ours = attached(get_method("pissa"), case)
    for (name, mine), (same, other) in zip(_starts.layers(ours), _starts.layers(theirs), strict=True):
        assert name == same
        assert torch.allclose(product(mine), product(other), atol=1e-6)


def test_olora_starts_orthonormal(tiny_models):
    """The second factor's columns are orthonormal."""
    for layer in started("olora", tiny_models)[0].values():
        b = layer.lora_B["default"].weight
        assert torch.allclose(b.T @ b, torch.eye(RANK), atol=1e-5)


def test_eva_starts_along_the_inputs_main_directions(tiny_models):
    """A's rows are orthonormal and explain as much of the inputs as any of their number can; B is zero."""
    case = case_of("eva", tiny_models)
    model = attached(get_method("eva"), case)
    seen = dict(covariances(model, [case.batch()], "float32"))
    for name, layer in _starts.layers(model):
        a = layer.lora_A["default"].weight
        assert torch.allclose(a @ a.T, torch.eye(RANK), atol=1e-4)
        explained = (a @ seen[name] @ a.T).trace()
        assert torch.isclose(explained, torch.linalg.eigvalsh(seen[name])[-RANK:].sum(), rtol=1e-4)
        assert not layer.lora_B["default"].weight.any()


def test_padding_is_not_seen(tiny_models):
    """What stands behind the mask has no part in what data says."""
    case = case_of("eva", tiny_models)
    model = attached(get_method("eva"), case)
    batch = dict(case.batch())
    whole = dict(covariances(model, [batch], "float32"))
    batch["input_ids"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 77)
    for name, value in covariances(model, [batch], "float32"):
        assert torch.allclose(value, whole[name], atol=1e-5)


def test_corda_takes_what_the_inputs_use_most(tiny_models):
    """Under the inputs' covariance the product is the best approximation of its rank, better than PiSSA's there."""
    case = case_of("corda", tiny_models)
    layers, weights = started("corda", tiny_models)
    plain, _ = started("pissa", tiny_models)
    plain_lora = attached(get_method("lora"), case_of("lora", tiny_models))
    seen = dict(covariances(plain_lora, [case.batch()], "float32"))
    for key, layer in layers.items():
        metric = damped(seen[key])
        values = torch.linalg.svdvals(weights[key] @ metric)
        left = ((weights[key] - product(layer)) @ metric).norm()
        assert torch.isclose(left, values[RANK:].norm(), rtol=1e-2)
        assert left < ((weights[key] - product(plain[key])) @ metric).norm()


def test_lora_ga_begins_with_the_best_step(tiny_models):
    """The factors' first gradient step is the gradient's best approximation of twice the rank (theorem 3.1)."""
    case = case_of("lora_ga", tiny_models)
    model = attached(get_method("lora_ga"), case)
    seen = dict(gradients(model, [case.batch()], "float32"))
    for name, layer in _starts.layers(model):
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        step = b @ b.T @ seen[name] + seen[name] @ a.T @ a
        u, values, vh = torch.linalg.svd(seen[name])
        best = (u[:, : 2 * RANK] * values[: 2 * RANK]) @ vh[: 2 * RANK]
        assert torch.nn.functional.cosine_similarity(step.flatten(), best.flatten(), dim=0) > 0.9999


def test_gradients_are_those_of_the_weights(tiny_models):
    """What the hooks collect is what autograd gives a weight that requires it."""
    case = case_of("lora_ga", tiny_models)
    model = get_method("lora").apply(case.build(), case_of("lora", tiny_models).setup).eval()
    found = dict(gradients(model, [case.batch()], "float32"))
    name, layer = next(iter(_starts.layers(model)))
    weight = layer.get_base_layer().weight.requires_grad_(True)
    model(**case.batch()).loss.backward()
    assert torch.allclose(found[name], weight.grad, atol=1e-6)


@pytest.mark.parametrize("name", MOVED)
def test_the_checkpoint_fits_the_unchanged_base_in_plain_peft(name, tiny_models, tmp_path):
    """What is saved is a LoRA of twice the rank that peft, and whoever else takes LoRA, puts on the original base."""
    method, case = get_method(name), case_of(name, tiny_models)
    model = attached(method, case)
    train(method, model, case)
    method.save(model, tmp_path)
    ranks = {v.shape[0] for k, v in load_file(tmp_path / "adapter_model.safetensors").items() if "lora_A" in k}
    assert ranks == {2 * RANK}
    plain = PeftModel.from_pretrained(case.build(), tmp_path)
    assert difference(logits(plain, case), logits(model, case)) < 1e-5


@pytest.mark.parametrize("name", MOVED)
def test_a_loaded_start_goes_on_as_the_saved_one(name, tiny_models, tmp_path):
    """The start is read back out of the checkpoint, to the bit that training on gives the same losses."""
    method, case = get_method(name), case_of(name, tiny_models)
    model = attached(method, case)
    method.save(model, tmp_path)
    loaded = method.load(case.build(), case.setup, tmp_path)
    assert train(method, model, case) == pytest.approx(train(method, loaded, case), rel=1e-4)


def test_a_checkpoint_of_another_rank_is_refused(tiny_models, tmp_path):
    """A rank that does not fit is named, instead of failing inside a library."""
    method, case = get_method("pissa"), case_of("pissa", tiny_models)
    method.save(attached(method, case), tmp_path)
    other = altered(case, "rank", parameters={"rank": 7})
    with pytest.raises(ModelError, match="has the rank 8; the setup's is 7"):
        method.load(case.build(), other.setup, tmp_path)


def test_lora_ga_says_when_twice_the_rank_does_not_fit(tiny_models):
    """Both factors need singular vectors of their own."""
    case = altered(case_of("lora_ga", tiny_models), "rank", parameters={"rank": 13})
    assert "twice the rank" in get_method("lora_ga").violations(case.setup)[0]


def test_the_base_comes_back_from_a_copy(tiny_models):
    """Restored in place after PiSSA, the base has every bit that it had."""
    case = case_of("pissa", tiny_models)
    model = case.build()
    before, copied = fingerprint(model), copy_weights(model)
    back = get_method("pissa").detach(attach(get_method("pissa"), case, model))
    assert fingerprint(back) != before
    restore_weights(back, copied)
    assert fingerprint(back) == before
    assert digests(back) == digests(case.build())


REPAIRS = ("loftq", "lq_lora", "ir_qlora")


@pytest.fixture(scope="module", params=["nf4", "nf4-double"])
def scheme(request):
    return request.param


@pytest.fixture(scope="module")
def whole_blocks(tmp_path_factory):
    """A tiny decoder whose rows are whole blocks of 64: bitsandbytes' CPU kernel decodes others wrongly."""
    from transformers import LlamaForCausalLM

    folder, config = tmp_path_factory.mktemp("whole_blocks"), tiny_config("llama")
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return {"llama": folder}


def quantized_case(name, tiny_models, scheme, **parameters):
    case = altered(case_of(name, tiny_models), scheme, quantization=scheme, parameters=parameters)
    config = get_quantization(scheme).config("float32")

    def quantized():
        model = build(tiny_models["llama"], "generation", "decoder", 0, quantization_config=config)
        stop_repacking(model)
        return model

    return replace(case, build=quantized)


def errors(model, weights):
    """Distance of what each layer stands for from its weight before quantization."""
    return {
        name: float((weights[name] - _codes.dequantized(layer) - _codes.product(layer)).norm())
        for name, layer in _starts.layers(model)
    }


def originals(tiny_models):
    plain = attached(get_method("lora"), case_of("lora", tiny_models))
    return {key: _starts.weight_of(layer) for key, layer in _starts.layers(plain)}


def test_loftq_and_lq_lora_lose_less_than_plain_codes(whole_blocks, scheme):
    """Codes and factors together are nearer to the weight than codes alone, and each alternation helps."""
    weights = originals(whole_blocks)
    plain = errors(attached(get_method("lora"), quantized_case("lora", whole_blocks, scheme)), weights)
    once = errors(attached(get_method("loftq"), quantized_case("loftq", whole_blocks, scheme, iterations=1)), weights)
    often = errors(attached(get_method("loftq"), quantized_case("loftq", whole_blocks, scheme)), weights)
    first = errors(attached(get_method("lq_lora"), quantized_case("lq_lora", whole_blocks, scheme)), weights)
    for name, lost in plain.items():
        assert once[name] < lost
        assert often[name] < once[name]
        assert first[name] < lost
    assert sum(first.values()) < 0.9 * sum(plain.values())


def test_the_rounds_of_lq_lora_never_end_worse(whole_blocks):
    """It stops before an alternation that would lose more, so that more of them allowed never hurt."""
    weights = originals(whole_blocks)
    method = get_method("lq_lora")
    cases = [quantized_case("lq_lora", whole_blocks, "nf4", iterations=n) for n in (1, 3, 20)]
    losses = [sum(errors(attached(method, case), weights).values()) for case in cases]
    assert losses == sorted(losses, reverse=True)


def test_ir_qlora_keeps_more_information(whole_blocks, scheme):
    """The shifted codes' entropy is never below the plain ones', and above on average; the layers compute with them."""
    weights = originals(whole_blocks)
    plain = attached(get_method("lora"), quantized_case("lora", whole_blocks, scheme))
    model, lost = attached(get_method("ir_qlora"), quantized_case("ir_qlora", whole_blocks, scheme)), {}
    for name, layer in _starts.layers(model):
        owner, weight = layer.get_base_layer(), weights[name]
        state = owner.weight.quant_state
        spread = _shifts.spread(owner.autopeft_shifts, state.blocksize, tuple(weight.shape))
        before = _shifts.entropy(_shifts.blocks_of(weight, state.blocksize), state.code)
        after = _shifts.entropy(_shifts.blocks_of(weight - spread, state.blocksize), state.code)
        assert (after >= before).all()
        assert after.mean() > before.mean() + 0.01
        x = torch.randn(2, weight.shape[1], generator=torch.Generator().manual_seed(1))
        assert torch.allclose(owner(x), x @ (_codes.dequantized(layer) + spread).T, atol=1e-4)
        lost[name] = (_codes.dequantized(layer) + spread - weight).norm()
    assert sum(lost.values()) < 1.05 * sum(errors(plain, weights).values())


def test_ir_qlora_keeps_no_matrix_for_the_backward_pass(whole_blocks):
    """The constants' matrix is as large as the weight in full: each layer holding one would undo the four bits."""
    model = attached(get_method("ir_qlora"), quantized_case("ir_qlora", whole_blocks, "nf4"))
    _, layer = next(iter(_starts.layers(model)))
    owner, saved = layer.get_base_layer(), []
    x = torch.randn(2, owner.in_features, requires_grad=True)

    def kept(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        out = owner(x)
    assert max(saved, default=0) < owner.in_features * owner.out_features
    out.sum().backward()
    spread = _shifts.spread(
        owner.autopeft_shifts, owner.weight.quant_state.blocksize, tuple(owner.weight.quant_state.shape)
    )
    assert x.grad is not None
    assert torch.allclose(x.grad, (_codes.dequantized(layer) + spread).sum(dim=0).expand_as(x), atol=1e-4)


@pytest.mark.parametrize("name", REPAIRS)
def test_a_repaired_base_comes_back_from_a_copy(name, tiny_models, scheme):
    """Codes and scales change in place, so the copy that a worker keeps restores every bit."""
    method, case = get_method(name), quantized_case(name, tiny_models, scheme)
    model = case.build()
    before, copied = fingerprint(model), copy_weights(model)
    back = method.detach(attach(method, case, model))
    assert fingerprint(back) != before
    restore_weights(back, copied)
    assert fingerprint(back) == before
    assert difference(logits(back, case), logits(case.build(), case)) == 0


@pytest.mark.parametrize("name", REPAIRS)
def test_a_repair_is_found_again_from_the_checkpoint(name, tiny_models, tmp_path):
    """Saved factors fit the codes made anew from the original weights; plain peft is kept from loading them."""
    method, case = get_method(name), quantized_case(name, tiny_models, "nf4")
    model = attached(method, case)
    train(method, model, case)
    method.save(model, tmp_path)
    assert not (tmp_path / "adapter_config.json").exists()
    assert difference(logits(method.load(case.build(), case.setup, tmp_path), case), logits(model, case)) < 1e-5


@pytest.mark.parametrize("name", REPAIRS)
def test_repairs_want_four_bits_and_the_original_weights(name, tiny_models):
    """What is not there to repair, or cannot be compared, is said before a weight is loaded."""
    method, case = get_method(name), quantized_case(name, tiny_models, "nf4")
    assert "got 'int8'" in method.violations(altered(case, "int8", quantization="int8").setup)[0]
    gguf = replace(case.setup, model=replace(case.setup.model, weight_format="gguf"))
    assert "must be safetensors" in method.violations(gguf)[0]
