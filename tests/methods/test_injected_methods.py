"""What peft's methods beyond LoRA do silently, fail at late, or share: said beforehand, or undone."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from autopeft.errors import InvalidValueError
from autopeft.methods import all_methods, get_method
from autopeft.methods._omitted import OMITTED
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached, difference, logits, train, trainable_count
from autopeft.testing.cases import Case, altered, build, make_case
from autopeft.testing.contract import check_effective_parameters, check_trainable_count
from autopeft.values.names import Task
from autopeft.values.profiles import ModelProfile

CUT_IN_16_BITS = ("osf", "miss", "lily", "vblora", "frod", "deft")


@cache
def _read(folder: str, task: Task, labels: int) -> ModelProfile:
    return read_model(folder, task, labels or 1)


def _case(name: str, architecture: str, folders: Mapping[str, Path], **parameters: Any) -> Case:
    task: Task = {"bert": "classification", "t5": "seq2seq"}.get(architecture, "generation")  # type: ignore[assignment]
    case = make_case(get_method(name), architecture, task, folders[architecture], _read)
    return altered(case, "changed", parameters=parameters) if parameters else case


def _half(folders: Mapping[str, Path]) -> Any:
    import torch

    return build(folders["llama"], "generation", "decoder", 0, dtype=torch.bfloat16)


def test_a_permutation_matrix_is_pefts():
    """BOFT's permutations are built at once and are those that peft builds entry by entry."""
    import torch
    from peft.tuners.boft.layer import BOFTLayer

    from autopeft.methods.boft import permutation_matrix

    indices = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(permutation_matrix(indices), BOFTLayer.perm2mat(None, indices))


def test_every_method_of_peft_is_in_the_catalogue_or_left_out_for_a_reason():
    """A method that a new release of peft brings is noticed; a name is never on both lists."""
    from peft import PeftType

    known = {kind.value.lower() for kind in PeftType}
    assert known <= set(all_methods()) | set(OMITTED)
    assert not set(all_methods()) & set(OMITTED)


ELSEWHERE = frozenset({"runtime_config", "megatron_config"})
"""Settings of LoRA's config that say where it runs, not what it is."""


def _plain(name: str) -> str:
    return name.removeprefix("use_").removesuffix("_config").removesuffix("_invocation_tokens")


def test_every_variant_of_pefts_lora_is_in_the_catalogue_or_left_out_for_a_reason():
    """A switch or a start that a new release gives to LoRA is noticed, whichever way it is spelt there."""
    from dataclasses import fields
    from typing import get_args, get_type_hints

    from peft import LoraConfig

    variants = {
        _plain(field.name)
        for field in fields(LoraConfig)
        if field.metadata.get("is_lora_variant") or field.name.startswith("use_") or field.name.endswith("_config")
        if field.name not in ELSEWHERE
    }
    starts = {value for part in get_args(get_type_hints(LoraConfig)["init_lora_weights"]) for value in get_args(part)}
    assert {"dora", "alora", "bdlora"} <= variants
    assert {"pissa", "orthogonal", "mica"} <= starts
    listed = {name.removesuffix("_lora") for name in all_methods()} | set(all_methods()) | set(OMITTED)
    assert variants | starts - {"pissa_niter_[number of iters]"} <= listed


def test_every_optimizer_of_peft_is_in_the_catalogue():
    """An optimizer that a new release of peft brings is noticed."""
    import peft.optimizers

    from autopeft.optimizers import all_optimizers

    made = {name.removeprefix("create_").removesuffix("_optimizer") for name in peft.optimizers.__all__}
    assert made <= {name.replace("_", "") for name in all_optimizers()}


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("bdlora", {"blocks": 5, "rank": 10}, "`blocks` is 5, which does not divide the output width 48"),
        ("bdlora", {"blocks": 4, "rank": 6}, "`blocks` is 4, which does not divide `rank` 6"),
        ("orthogonal_lora", {"rank": 3}, "`rank` is shared evenly between both factors and must be even; got 3"),
        ("oft", {"block_size": 7}, "`block_size` is 7, which does not divide the input width 48"),
        ("boft", {"block_size": 7}, "`block_size` is 7, which does not divide the input width 48"),
        ("c3a", {"block_size": 16}, "`block_size` is 16, which does not divide the output width 24"),
        ("road", {"group_size": 9}, "`group_size` holds pairs and must be even; got 9"),
        ("road", {"group_size": 10}, "`group_size` is 10, which does not divide the output width 48"),
        ("hra", {"rank": 3}, "`rank` counts reflections in pairs and must be even; got 3"),
        ("gralora", {"rank": 9}, "`blocks` is 2, which does not divide `rank` 9"),
        ("gralora", {"rank": 10, "blocks": 5}, "`blocks` is 5, which does not divide the input width 48"),
        ("miss", {"rank": 49}, "`rank` is 49, above the input width 48"),
        ("miss", {"rank": 10, "variant": "block_affine"}, "`rank` is 10, which does not divide the input width 48"),
        ("miss", {"rank": 16, "variant": "mini"}, "`rank` is 16, which does not divide the output width 24"),
        ("shira", {"rank": 17}, "`rank` 17 asks for 1224 entries of model.layers.0.self_attn.k_proj"),
        ("fourierft", {"frequencies": 1153}, "`frequencies` is 1153, above the 1152 entries"),
        ("vblora", {"vector_length": 16}, "`vector_length` is 16, which does not divide the output width 24"),
        ("vblora", {"top_k": 64, "vectors": 8}, "`top_k` is 64, above the 8 `vectors`"),
        ("deft", {"rank": 25}, "`rank` is 25, above the smaller dimension 24"),
        ("tinylora", {"rank": 25}, "`rank` is 25, above the smaller dimension 24"),
        ("osf", {"rank": 24}, "`rank` is 24, above the 23 directions"),
        ("glora", {"bias": "vector"}, "no targeted module has a bias"),
        ("supertuning", {"sparsity": 0.9999}, "`sparsity` 0.9999 leaves no entry"),
        ("unilora", {"rank": 1, "length": 4096}, "`length` is 4096, but the factors have only"),
        ("adamss", {"subspaces": 25}, "`subspaces` is 25, above the 24 outputs"),
        ("trainable_tokens", {"first": 263, "count": 2}, "reach to token 264, but the model's vocabulary ends at 263"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_said_before_loading(name, parameters, words, tiny_models):
    """What peft would alter with a warning, or fail at while it injects, is refused by its numbers."""
    case = _case(name, "llama", tiny_models, **parameters)
    assert words in " ".join(get_method(name).violations(case.setup))
    with pytest.raises(InvalidValueError, match=rf"(?s)cannot apply.*`autopeft methods {name}` shows what it takes"):
        get_method(name).apply(None, case.setup)


def test_mica_learns_in_the_directions_that_the_weight_uses_least(tiny_models):
    """B is orthonormal, belongs to the smallest singular values, and is the same after training."""
    import torch

    from autopeft.methods import _starts

    method, case = get_method("mica"), _case("mica", "llama", tiny_models)
    model = attached(method, case)
    layers = dict(_starts.layers(model))
    before = {name: layer.lora_B["default"].weight.detach().clone() for name, layer in layers.items()}
    train(method, model, case)
    for name, layer in layers.items():
        b, weight = layer.lora_B["default"].weight, _starts.weight_of(layer)
        values = torch.linalg.svdvals(weight)
        assert torch.equal(b, before[name])
        assert torch.allclose(b.T @ b, torch.eye(b.shape[1]), atol=1e-5)
        assert torch.allclose((weight.T @ b).norm(dim=0), values[-b.shape[1] :], atol=1e-4)
        assert layer.lora_A["default"].weight.any()


def test_an_orthogonal_start_has_two_factors_and_no_product(tiny_models):
    """Neither factor is zero, so that both have a gradient at once; their product is."""
    from autopeft.methods import _starts

    for _, layer in _starts.layers(
        attached(get_method("orthogonal_lora"), _case("orthogonal_lora", "llama", tiny_models))
    ):
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        assert min(a.norm(), b.norm()) > 0.1
        assert (b @ a).abs().max() < 1e-6


def test_velora_with_a_group_for_each_feature_is_lora(tiny_models):
    """One feature a group loses nothing: the gradients are LoRA's; with few groups A's are others, B's the same."""
    import torch

    def gradients(name, **parameters):
        case = _case(name, "llama", tiny_models, rank=4, alpha=8, dropout=0.0, **parameters)
        model = attached(get_method(name), case)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) / 10)
        model.train()(**case.batch()).loss.backward()
        return {key: p.grad for key, p in model.named_parameters() if p.grad is not None}

    plain = gradients("lora")
    exact, rough = (gradients("velora", groups=groups, backward_scale=1.0) for groups in (80, 8))
    for key, gradient in plain.items():
        assert torch.allclose(exact[key], gradient, atol=1e-5)
        assert torch.allclose(rough[key], gradient, atol=1e-5) == ("lora_B" in key)


def _change(layer):
    """What the layer adds to each unit vector: the update as a matrix."""
    import torch

    unit = torch.eye(layer.in_features)
    return (layer.eval()(unit) - layer.get_base_layer()(unit)).T


def test_a_share_of_a_bdlora_pair_is_enough_for_a_share_of_the_layer(tiny_models):
    """The paper's point: outputs of one device need that device's block alone, inputs too; nothing is sent."""
    import torch

    method, case = get_method("bdlora"), _case("bdlora", "llama", tiny_models, rank=4, blocks=2)
    model = attached(method, case)
    train(method, model, case)
    layers = dict(model.named_modules())
    inner = layers["base_model.model.model.layers.0.self_attn.q_proj"]
    outer = layers["base_model.model.model.layers.0.self_attn.o_proj"]
    a, b = inner.lora_A["default"].weight, inner.lora_B["default"].weight
    shares = [b[24 * i :][:24] @ a[2 * i :][:2] for i in range(2)]
    assert torch.allclose(torch.cat(shares) * inner.scaling["default"], _change(inner), atol=1e-6)
    a, b = outer.lora_A["default"].weight, outer.lora_B["default"].weight
    shares = [b[:, 2 * i :][:, :2] @ a[2 * i :][:2] for i in range(2)]
    assert torch.allclose(torch.cat(shares, dim=1) * outer.scaling["default"], _change(outer), atol=1e-6)


def test_peft_alters_a_block_size_that_does_not_divide(tiny_models):
    """The trap behind the refusal: asked for blocks of 7, peft takes blocks of 6 and warns."""
    from peft import OFTConfig, get_peft_model

    model = build(tiny_models["llama"], "generation", "decoder", 0)
    with pytest.warns(UserWarning, match="Adjusted `oft_block_size` to"):
        altered_model = get_peft_model(model, OFTConfig(r=0, oft_block_size=7, target_modules=["q_proj"]))
    layer = altered_model.base_model.model.model.layers[0].self_attn.q_proj
    assert layer.oft_block_size["default"] != 7


def test_lily_shares_its_factors_between_layers_of_the_same_place(tiny_models):
    """Named in full, modules would share nothing; named by their place, layers do, and only those selected."""
    method = get_method("lily")
    case = altered(_case("lily", "llama", tiny_models), "last two", layers="last:2")
    model = attached(method, case)
    first, second, third = (layer.self_attn.q_proj for layer in model.base_model.model.model.layers)
    assert not hasattr(first, "lily_A")
    assert second.lily_B["default"] is third.lily_B["default"]
    assert second.lily_A["default"] is third.lily_A["default"]
    assert second.lily_router["default"] is not third.lily_router["default"]
    check_trainable_count(method, case)


def test_lily_refuses_places_that_peft_would_mix_up(tiny_models):
    """Where one place's name ends like another's and the shapes agree, what is shared would depend on hashing."""
    case = _case("lily", "bert", tiny_models)
    square = tuple(
        replace(m, in_features=48, out_features=48) if m.name.endswith("output.dense") else m
        for m in case.setup.model.modules
    )
    setup = replace(case.setup, model=replace(case.setup.model, modules=square))
    assert "cannot tell whose factors they share" in " ".join(get_method("lily").violations(setup))


def test_frod_refuses_to_share_a_basis_between_inputs_of_other_widths(tiny_models):
    """Weights named alike share a basis; an encoder and a decoder of other feed-forward widths cannot."""
    case = _case("frod", "t5", tiny_models)
    assert get_method("frod").violations(case.setup) == ()
    other = tuple(
        replace(m, in_features=72) if m.name.startswith("decoder") and m.name.endswith(".wo") else m
        for m in case.setup.model.modules
    )
    setup = replace(case.setup, model=replace(case.setup.model, modules=other))
    assert "would share a basis, but their inputs are 80 and 72 wide" in " ".join(get_method("frod").violations(setup))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_frozen_directions_stay_frozen_in_16_bits_too(dtype, tiny_models):
    """OSF's gradients are orthogonal to what it protects; peft's cast to float32 would lose the projection."""
    import torch

    method, case = get_method("osf"), _case("osf", "llama", tiny_models)
    model = method.apply(
        build(tiny_models["llama"], "generation", "decoder", 0, dtype=getattr(torch, dtype)), case.setup
    )
    model(**case.batch()).loss.backward()
    layer = model.base_model.model.model.layers[0].mlp.up_proj
    gradient, frozen = layer.osf_svd_params["default"]["U_low"].grad, layer._osf_U_high["default"].float()
    assert gradient.abs().max() > 0
    assert (frozen.T @ gradient).abs().max() <= 1e-2 * gradient.abs().max()


@pytest.mark.parametrize("variant", ["shared", "block_affine", "mini"])
def test_each_variant_of_miss_is_what_it_counts_and_reads(variant, tiny_models):
    """The three variants differ in shape, and none is taken for another."""
    case = _case("miss", "llama", tiny_models, variant=variant, rank=8)
    check_trainable_count(get_method("miss"), case)
    check_effective_parameters(get_method("miss"), case)


@pytest.mark.parametrize(("name", "parameters"), [
    ("glora", {"bias": "constant"}), ("glora", {"bias": "vector"}), ("gralora", {"hybrid_rank": 3}),
    ("road", {"variant": "road_4"}), ("peanut", {"depth": 2}), ("supertuning", {"rank": 4}),
    ("tinylora", {"tying": 0.7}), ("tinylora", {"tying": 1.0}), ("frod", {"rotations": 1.0}),
    ("lily", {"stride": 1, "experts": 3}),
    ("vblora", {"vectors": 96, "top_k": 3}), ("deft", {"projection": "qr"}), ("randlora", {"rank": 23}),
])  # fmt: skip
def test_other_parameters_are_counted_and_read_exactly(name, parameters, tiny_models):
    """Counts and readings hold away from the values that the contract tries."""
    case = _case(name, "bert", tiny_models, **parameters)
    assert get_method(name).violations(case.setup) == ()
    check_trainable_count(get_method(name), case)
    check_effective_parameters(get_method(name), case)


@pytest.mark.parametrize("name", ["miss", "shira", "oft", "boft", "road"])
def test_quantized_layers_take_the_place_of_transposed_ones(name, tiny_models):
    """GPT-2's transposed weights are refused as they are, and work once bitsandbytes has replaced them."""
    from autopeft.quantization import get_quantization, stop_repacking

    method, case = get_method(name), _case(name, "gpt2", tiny_models)
    assert "stores its weight transposed" in " ".join(method.violations(case.setup))
    setup = altered(case, "nf4", quantization="nf4").setup
    assert method.violations(setup) == ()
    config = get_quantization("nf4").config("float32")
    base = build(tiny_models["gpt2"], "generation", "decoder", 0, quantization_config=config)
    stop_repacking(base)
    model = method.apply(base, setup)
    assert trainable_count(model) == method.trainable(setup)
    losses = train(method, model, replace(case, setup=setup))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("layers", ["all", "last:1", "last:2"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_adaption_prompts_sit_in_the_last_layers_alone(architecture, layers, tiny_models):
    """The layers asked for are the ones extended; anything but the last ones is refused."""
    method = get_method("adaption_prompt")
    case = altered(_case("adaption_prompt", architecture, tiny_models), layers, layers=layers)
    check_trainable_count(method, case)
    other = altered(case, "every other", layers="every:2")
    assert "`layers` must be all or last:K" in " ".join(method.violations(other.setup))


def test_a_cartridge_starts_as_what_the_model_caches_for_the_text(tiny_models):
    """Behind a cartridge of its own first tokens a model continues as behind the tokens themselves."""
    import torch

    method = get_method("cartridge")
    case = altered(_case("cartridge", "llama", tiny_models), "eight", parameters={"virtual_tokens": 8})
    tokens = case.batch()["input_ids"][:1]
    expected = case.build().eval()(input_ids=tokens).logits[:, 8:]
    model = method.apply(case.build(), case.setup)
    assert method.prepare is not None
    method.prepare(model, case.setup, [{"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}])
    found = model.eval()(input_ids=tokens[:, 8:], attention_mask=torch.ones_like(tokens[:, 8:])).logits
    assert difference(expected, found) <= 1e-4


def test_boft_compiles_nothing(tiny_models, monkeypatch, recwarn):
    """One butterfly factor needs no CUDA extension, so peft is kept from trying to build it for every layer."""
    from torch.utils import cpp_extension

    def build_it(*args, **options):
        raise AssertionError("an extension was compiled")

    monkeypatch.setattr(cpp_extension, "load", build_it)
    attached(get_method("boft"), _case("boft", "llama", tiny_models))
    assert not [w for w in recwarn if "CUDA extension" in str(w.message)]


@pytest.mark.parametrize("name", CUT_IN_16_BITS)
def test_a_16_bit_base_trains(name, tiny_models):
    """In bfloat16 under autocast, as runs on a GPU compute, methods with decompositions and shared parts train too."""
    import torch

    method, case = get_method(name), _case(name, "llama", tiny_models)
    model = method.apply(_half(tiny_models), case.setup)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, lr=1e-2), []
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(**case.batch()).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_norms_of_some_layers_leave_the_final_one_alone(tiny_models):
    """LN tuning of all layers takes the norm behind them too, of some layers theirs alone."""
    method = get_method("ln_tuning")
    case = _case("ln_tuning", "llama", tiny_models)
    assert method.trainable(case.setup) == 7 * 48
    some = altered(case, "last", layers="last:1")
    assert method.trainable(some.setup) == 2 * 48
    check_trainable_count(method, some)


@pytest.mark.parametrize("name", ["vblora", "lily", "unilora", "tinylora"])
def test_shared_parameters_come_back_from_a_file(name, tiny_models, tmp_path):
    """What layers share stands in the file once, and loads for all of them."""
    method, case = get_method(name), _case(name, "llama", tiny_models)
    model = attached(method, case)
    train(method, model, case)
    method.save(model, tmp_path)
    loaded = method.load(case.build(), case.setup, tmp_path)
    assert difference(logits(model, case), logits(loaded, case)) <= 1e-5
