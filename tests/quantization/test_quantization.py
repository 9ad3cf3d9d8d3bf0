"""What the schemes declare is what bitsandbytes stores, and a quantized base trains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from autopeft.errors import InvalidValueError
from autopeft.quantization import all_quantizations, get_quantization, stop_repacking

SCHEMES = {"fp4", "fp4-double", "int8", "nf4", "nf4-double", "none"}
QUANTIZED = sorted(SCHEMES - {"none"})


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A llama of one layer, 256 wide, so that block constants are measured over many blocks."""
    folder = tmp_path_factory.mktemp("wide")
    config = LlamaConfig(
        vocab_size=32, hidden_size=256, intermediate_size=320, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def load(kind: Any, folder: Path, scheme: str, **options: Any) -> Any:
    config = get_quantization(scheme).config("float32")
    return kind.from_pretrained(folder, quantization_config=config, dtype="float32", **options)


def stored_bytes(layer: Any) -> int:
    """Bytes of a layer's codes and of the scales of its rows or blocks; code books are the same for any size."""
    tensors = [layer.weight.data]
    if getattr(layer.weight, "SCB", None) is not None:
        tensors.append(layer.weight.SCB)
    if getattr(layer.weight, "quant_state", None) is not None:
        state = layer.weight.quant_state.as_dict(packed=False)
        tensors += [state[key] for key in ("absmax", "nested_absmax") if key in state]
    return sum(t.numel() * t.element_size() for t in tensors)


def test_every_scheme_is_found():
    """The catalogue holds exactly the schemes that commands and files may name."""
    assert set(all_quantizations()) == SCHEMES


def test_an_unknown_scheme_is_refused():
    """A wrong name gets the right ones and the closest of them."""
    with pytest.raises(InvalidValueError, match=r"(?s)`quantization` of a candidate .*Did you mean 'nf4'"):
        get_quantization("nf5")


@pytest.mark.parametrize("scheme", QUANTIZED)
def test_declared_bytes_are_the_stored_ones(scheme, wide):
    """An estimate built on `bytes_per_weight` is what a layer takes."""
    layer = load(AutoModelForCausalLM, wide, scheme).model.layers[0].mlp.up_proj
    declared = get_quantization(scheme).bytes_per_weight * layer.in_features * layer.out_features
    if scheme == "int8":  # a row of 256 has a scale to itself; the declared share is that of a row of 1024
        declared += layer.out_features * 4 * (1 - layer.in_features / 1024)
    assert stored_bytes(layer) == declared


@pytest.mark.parametrize("scheme", QUANTIZED)
def test_heads_keep_real_weights(scheme, tiny_models):
    """Heads train, so they are never quantized, and every linear layer of the base is."""
    model = load(AutoModelForSequenceClassification, tiny_models["bert"], scheme, num_labels=3)
    kept = {name for name, module in model.named_modules() if type(module) is torch.nn.Linear}
    assert kept == {"classifier", "bert.pooler.dense"}
    assert type(load(AutoModelForCausalLM, tiny_models["llama"], scheme).lm_head) is torch.nn.Linear


@pytest.mark.parametrize("scheme", ["nf4", "int8"])
def test_gradients_pass_through_a_quantized_base(scheme, tiny_models):
    """What stands before a quantized layer can learn through it, on a CPU too."""
    model = load(AutoModelForCausalLM, tiny_models["llama"], scheme)
    tokens = torch.arange(5, 20)[None]
    embedded = model.get_input_embeddings()(tokens).detach().requires_grad_()
    model(inputs_embeds=embedded, labels=tokens).loss.backward()
    assert torch.isfinite(embedded.grad).all()
    assert (embedded.grad[0, :-1].abs().sum(-1) > 0).all()  # the last token predicts nothing


def test_evaluation_leaves_a_four_bit_base_as_it_is(tiny_models):
    """A base is proven unchanged by its hash, so evaluating it must not rewrite it, whatever the processor."""
    model = load(AutoModelForCausalLM, tiny_models["llama"], "nf4-double")
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = True  # as bitsandbytes finds it on some processors
    stop_repacking(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.eval()
    with torch.no_grad():
        model(torch.arange(5, 20)[None])
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_none_needs_no_config():
    """Without quantization transformers gets no config and weights take their dtype's bytes."""
    none = get_quantization("none")
    assert (none.config("bfloat16"), none.bytes_per_weight, none.bits) == (None, None, 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_four_bit_layers_compute_in_the_candidates_dtype(dtype):
    """The compute dtype follows the candidate, not bitsandbytes' default of float32."""
    for scheme in ("nf4", "nf4-double", "fp4", "fp4-double"):
        config = get_quantization(scheme).config(dtype)
        assert config.bnb_4bit_compute_dtype == getattr(torch, dtype)
        assert config.bnb_4bit_use_double_quant == scheme.endswith("-double")
        assert config.bnb_4bit_quant_type == scheme.partition("-")[0]
