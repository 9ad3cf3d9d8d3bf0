"""What the methods written here owe beyond the contract: the properties that their papers prove or state."""

from functools import cache
from math import ceil, log2
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from autopeft.errors import InvalidValueError, ModelError
from autopeft.methods import _hooks, get_method
from autopeft.methods._fastfood import hadamard, sylvester
from autopeft.methods._powers import padded
from autopeft.methods._stiefel import orthonormal
from autopeft.methods.mora import side
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached, difference, logits, train, trainable_count
from autopeft.testing.cases import Case, altered, build, checkpointed, make_case

TASKS: dict[str, Any] = {"bert": "classification", "llama": "generation", "gpt2": "generation", "t5": "seq2seq"}
ADDITIVE = ("mora", "ortho_geo_lora", "krona", "intrinsic_said")
ADAPTERS = ("parallel_adapter", "compacter", "adapter_fusion")
WRITTEN = (*ADDITIVE, *ADAPTERS)


@cache
def _read(folder: str, task: Any, labels: int) -> Any:
    return read_model(folder, task, labels or 1)


def case_of(name: str, architecture: str, folders: dict[str, Path], **parameters: Any) -> Case:
    case = make_case(get_method(name), architecture, TASKS[architecture], folders[architecture], _read)
    return altered(case, "changed", parameters=parameters)


def trained(name: str, case: Case, steps: int = 3) -> Any:
    model = attached(get_method(name), case)
    train(get_method(name), model, case, steps=steps)
    return model


def rank(matrix: torch.Tensor) -> int:
    return int(torch.linalg.matrix_rank(matrix.detach()))


# Common to all


@pytest.mark.parametrize("name", WRITTEN)
def test_the_start_is_the_base_to_the_bit(name, tiny_models):
    """Something of every update starts at zero, so attaching changes no bit of the output."""
    case = case_of(name, "gpt2", tiny_models)
    assert torch.equal(logits(case.build(), case), logits(attached(get_method(name), case), case))


@pytest.mark.parametrize("name", WRITTEN)
def test_they_learn_alike_under_checkpointing_and_in_bfloat16(name, tiny_models):
    """The loss falls; recomputation gives the same values; on a bfloat16 base what trains stays float32."""
    case, method = case_of(name, "llama", tiny_models), get_method(name)
    still = altered(case, "still", parameters={"dropout": 0.0} if "dropout" in method.legal else {})
    plain = train(method, attached(method, still), still, steps=12)
    saving = checkpointed(still)
    assert plain[-1] < plain[0] - 0.05
    assert train(method, attached(method, saving), saving, steps=12) == pytest.approx(plain, rel=1e-4)
    half = method.apply(case.build().to(torch.bfloat16), case.setup)
    assert {p.dtype for p in half.parameters() if p.requires_grad} == {torch.float32}
    assert half(**case.batch()).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("name", WRITTEN)
def test_they_attach_where_there_are_no_weights(name, tiny_models):
    """Memory is traced on the meta device: attaching, a forward pass and a backward pass run without a value."""
    method, case = get_method(name), case_of(name, "llama", tiny_models)
    with torch.device("meta"):
        model = type(case.build())(case.build().config)
    model = method.apply(model, case.setup)
    assert trainable_count(model) == method.trainable(case.setup) + case.setup.model.head_parameters
    assert {p.device.type for p in model.parameters()} == {"meta"}
    batch = {key: value.to("meta") for key, value in case.batch().items() if key != "attention_mask"}
    model(**batch).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@pytest.mark.parametrize("name", ADDITIVE)
def test_the_matrix_of_an_update_is_what_the_update_does(name, architecture, tiny_models):
    """`delta` and the forward pass agree, for transposed and fused layers and for narrow keys too."""
    model = trained(name, case_of(name, architecture, tiny_models)).eval()
    for child, owner in [(m.autopeft_adapter, m) for m in model.modules() if hasattr(m, _hooks.CHILD)]:
        weight = owner.weight if architecture == "llama" else owner.weight.T
        delta = child.delta()
        assert delta.shape == weight.shape
        assert delta.abs().max() > 0
        vectors = torch.randn(5, weight.shape[1], generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(child(vectors), vectors @ delta.T, rtol=1e-4, atol=1e-5)


def test_merging_into_a_quantized_base_is_refused(tiny_models):
    """Merging would round the update to the base's codes."""
    from autopeft.quantization import get_quantization

    method, case = get_method("mora"), case_of("mora", "llama", tiny_models)
    config = get_quantization("nf4").config("float32")
    base = build(tiny_models["llama"], "generation", "decoder", 0, quantization_config=config)
    model = method.apply(base, altered(case, "nf4", quantization="nf4").setup)
    assert method.merge is not None
    with pytest.raises(ModelError, match="Load the base without quantization"):
        method.merge(model)


SIZES = (
    ("krona", "llama", {"factor": 7}, r"`factor` is 7, which does not divide the input width 48 of model\.layers\.0"),
    ("krona", "llama", {"factor": 48}, r"`factor` is 48, which does not divide the output width 24 of .*k_proj"),
    ("mora", "llama", {"rank": 16}, r"`rank` is 16: it buys a square of side 32, above the smaller dimension 24"),
    ("ortho_geo_lora", "llama", {"rank": 25}, r"`rank` is 25, above the smaller dimension 24 of .*k_proj"),
    ("intrinsic_said", "bert", {"dimension": 3}, r"`dimension` is 3, but 3 of them are the scales .*at least 4"),
    ("intrinsic_said", "llama", {"dimension": 1156}, r"`dimension` is 1156, above the 1152 weights of .*k_proj"),
    ("compacter", "bert", {"divisions": 5, "bottleneck": 10}, r"`divisions` is 5, .* the width 48 after bert"),
    ("compacter", "bert", {"divisions": 3}, r"`divisions` is 3, which does not divide `bottleneck` 16"),
    ("compacter", "bert", {"rank": 9}, r"`rank` is 9, above `bottleneck` / `divisions` = 8"),
    ("parallel_adapter", "bert", {"bottleneck": 49}, r"`bottleneck` is 49, above the width 48 after bert"),
)


@pytest.mark.parametrize(("name", "architecture", "parameters", "words"), SIZES)
def test_sizes_that_do_not_fit_are_said_before(name, architecture, parameters, words, tiny_models):
    """A width that a method cannot divide, and a size above a layer's, name the value and the module."""
    case = case_of(name, architecture, tiny_models, **parameters)
    with pytest.raises(InvalidValueError, match=words):
        get_method(name).apply(case.build(), case.setup)


# MoRA


@pytest.mark.parametrize("variant", ["rope", "sharing"])
def test_mora_has_a_higher_rank_than_lora_at_its_budget(variant, tiny_models):
    """The paper's point: with no more weights than LoRA's factors of rank r, the update's rank is far above r."""
    case = case_of("mora", "bert", tiny_models, rank=4, variant=variant)
    lora = case_of("lora", "bert", tiny_models, rank=4)
    assert get_method("mora").trainable(case.setup) <= get_method("lora").trainable(lora.setup)
    model = attached(get_method("mora"), case)
    for child in _hooks.children(model):
        torch.nn.init.normal_(child.matrix)
        width = child.matrix.shape[0]
        assert rank(child.delta()) >= width > 4 * 4
        if variant == "rope":
            assert rank(child.delta()) == min(child.inputs, child.outputs)


def test_mora_turns_every_group_its_own_way(tiny_models):
    """Equation 9: the groups pass the same matrix, each turned by its place; the first is not turned at all."""
    model = attached(get_method("mora"), case_of("mora", "bert", tiny_models, rank=1, variant="rope"))
    child = _hooks.children(model)[0]
    width = child.matrix.shape[0]
    torch.nn.init.eye_(child.matrix)
    first, second = (child.delta()[i * width : (i + 1) * width, i * width : (i + 1) * width] for i in (0, 1))
    torch.testing.assert_close(first, torch.eye(width))
    torch.testing.assert_close(second @ second.T, torch.eye(width))
    assert difference(first.detach(), second.detach()) > 0.5


def test_mora_shares_rows_and_columns(tiny_models):
    """Equation 6: inputs whose places agree modulo the side are summed, outputs repeat."""
    model = attached(get_method("mora"), case_of("mora", "bert", tiny_models, rank=2, variant="sharing"))
    child = _hooks.children(model)[0]
    width = child.matrix.shape[0]
    assert 48 % width
    torch.nn.init.normal_(child.matrix)
    rows, columns = torch.meshgrid(torch.arange(48) % width, torch.arange(48) % width, indexing="ij")
    torch.testing.assert_close(child.delta(), child.matrix[rows, columns])


@given(inputs=st.integers(1, 20000), outputs=st.integers(1, 20000), lora=st.integers(1, 512))
def test_moras_square_is_the_largest_within_loras_budget(inputs, outputs, lora):
    """The side is the floor of the root of LoRA's count; for rotation it is even."""
    budget = (inputs + outputs) * lora
    assert side(inputs, outputs, lora, "sharing") ** 2 <= budget < (side(inputs, outputs, lora, "sharing") + 1) ** 2
    assert side(inputs, outputs, lora, "rope") in (side(inputs, outputs, lora, "sharing") // 2 * 2,)


# OrthoGeoLoRA


def test_ortho_geo_lora_stays_on_the_manifold(tiny_models):
    """After any number of steps of a plain optimizer the columns of A and B are orthonormal to 1e-5."""
    case, method = case_of("ortho_geo_lora", "llama", tiny_models), get_method("ortho_geo_lora")
    model = attached(method, case)
    for _ in range(3):
        train(method, model, case, steps=5)
        for child in _hooks.children(model):
            for raw in (child.left.detach(), child.right.detach()):
                columns = orthonormal(raw)
                assert difference(columns.T @ columns, torch.eye(columns.shape[1])) < 1e-5
                # what trains has left the manifold, so it is the map that keeps the columns there
                assert difference(raw.T @ raw, torch.eye(columns.shape[1])) > 1e-5


def test_ortho_geo_loras_values_are_the_updates_singular_values(tiny_models):
    """The form is a singular value decomposition: no rank is lost, and the diagonal is the spectrum."""
    model = trained("ortho_geo_lora", case_of("ortho_geo_lora", "bert", tiny_models), steps=6)
    for child in _hooks.children(model):
        size = child.singular.numel()
        found = torch.linalg.svdvals(child.delta())
        expected = (child.singular * child.scale).abs().sort(descending=True).values
        torch.testing.assert_close(found[:size], expected, rtol=1e-3, atol=1e-6)
        assert found[size:].max() < 1e-6


def test_the_map_to_the_manifold_is_differentiable_and_keeps_what_is_on_it():
    """QR with a positive diagonal: gradients are right, and an orthonormal matrix is its own image."""
    matrix = torch.randn(7, 3, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    on_it = orthonormal(matrix)
    assert ((on_it.T @ matrix).diagonal() > 0).all()
    torch.testing.assert_close(orthonormal(on_it), on_it)
    torch.testing.assert_close(orthonormal(5 * matrix), on_it)
    raw = matrix.clone().requires_grad_()
    target = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    (orthonormal(raw) * target).sum().backward()
    step = torch.randn(7, 3, generator=torch.Generator().manual_seed(2)) * 1e-3
    ahead, behind = ((orthonormal(matrix + sign * step) * target).sum() for sign in (1, -1))
    assert raw.grad is not None
    assert float((raw.grad * step).sum()) == pytest.approx(float(ahead - behind) / 2, rel=1e-2)


# KronA


def test_kronas_rank_is_the_product_of_the_factors_ranks(tiny_models):
    """A Kronecker product has full rank from few weights, where two thin factors of that budget cannot."""
    case = case_of("krona", "bert", tiny_models, factor=8)
    model = attached(get_method("krona"), case)
    for child in _hooks.children(model):
        torch.nn.init.normal_(child.large)
        assert rank(child.delta()) == rank(child.small) * rank(child.large) == min(child.delta().shape)
        weights = child.small.numel() + child.large.numel()
        assert weights < sum(child.delta().shape) * 2  # rank 1 of LoRA already costs half of that


# Intrinsic SAID


@pytest.mark.parametrize("exponent", range(9))
def test_the_hadamard_transform_is_its_matrix(exponent):
    """The fast transform is the product with the matrix of signs, and its own inverse up to the length."""
    length = 2**exponent
    index = torch.arange(length)
    both = index.unsqueeze(1) & index
    bits = torch.stack([(both >> place) & 1 for place in range(8)]).sum(0)
    vector = torch.randn(length)
    block = sylvester(8, vector.device)
    expected = (1.0 - 2.0 * (bits % 2)) @ vector
    torch.testing.assert_close(hadamard(vector, block), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(hadamard(hadamard(vector, block), block), length * vector, rtol=1e-4, atol=1e-3)


def test_intrinsic_said_trains_d_numbers_and_stores_no_dense_projection(tiny_models):
    """Exactly d train, m of them scales of the m layers; signs, order and factors take O(D), not d times D."""
    case = case_of("intrinsic_said", "bert", tiny_models, dimension=200)
    model = attached(get_method("intrinsic_said"), case)
    assert trainable_count(model) == 200 + case.setup.model.head_parameters
    found = _hooks.children(model)
    assert {m.directions.numel() for m in found} == {197}
    assert {id(m.directions) for m in found} == {id(found[0].directions)}
    assert sorted({m.place for m in found}) == [0, 1, 2]
    for child in found:
        size = child.shape[0] * child.shape[1]
        assert padded(size) == 2 ** ceil(log2(size))
        stored = sum(buffer.numel() * buffer.element_size() for buffer in child.buffers())
        assert stored == 9 * padded(size) + 4 * 16**2
        assert stored < 18 * size + 1025


def test_fastfood_keeps_lengths_and_is_linear(tiny_models):
    """A projected vector is as long as the one that is projected, within a tenth; modules differ; sums stay sums."""
    model = attached(get_method("intrinsic_said"), case_of("intrinsic_said", "bert", tiny_models, dimension=200))
    draw = torch.Generator().manual_seed(0)
    one, other = (torch.randn(197, generator=draw) for _ in range(2))
    first, second = _hooks.children(model)[:2]
    for child in (first, second):
        assert float(child.project(one).norm() / one.norm()) == pytest.approx(1, abs=0.1)
        torch.testing.assert_close(child.project(one + other), child.project(one) + child.project(other))
    assert difference(first.project(one), second.project(one)) > 0.1


def test_intrinsic_saids_file_holds_no_projection(tiny_models, tmp_path):
    """The projection is drawn again from its seed: what is saved are the d numbers and the head."""
    case, method = case_of("intrinsic_said", "bert", tiny_models, dimension=200), get_method("intrinsic_said")
    method.save(trained("intrinsic_said", case), tmp_path)
    stored = {name: t.numel() for name, t in load_file(tmp_path / "trained.safetensors").items()}
    assert sum(size for name, size in stored.items() if not name.startswith("classifier")) == 200


# Adapters


@pytest.mark.parametrize("architecture", TASKS)
def test_the_parallel_adapter_adds_to_the_output_what_it_makes_of_the_input(architecture, tiny_models):
    """h = FFN(x) + s · adapter(x): x is what the feed-forward's first projection reads, s the scale."""
    model = trained("parallel_adapter", case_of("parallel_adapter", architecture, tiny_models, scale=4.0)).eval()
    child = _hooks.children(model)[0]
    owner = next(module for module in model.modules() if hasattr(module, _hooks.CHILD))
    entrances = ("intermediate.dense", "up_proj", "c_fc", "wi")
    entrance = next(module for name, module in model.named_modules() if name.endswith(entrances))
    seen: dict[str, Any] = {}
    entrance.register_forward_pre_hook(lambda _m, inputs: seen.update(read=inputs[0]))
    owner.register_forward_hook(lambda _m, inputs, output: seen.update(made=(inputs[0], output)))
    case = case_of("parallel_adapter", architecture, tiny_models)
    logits(model, case)
    inside, out = seen["made"]
    plain = inside @ (owner.weight if architecture == "gpt2" else owner.weight.T)
    plain = plain if owner.bias is None else plain + owner.bias
    update = 4 * child.up(child.activation(child.down(seen["read"])))
    assert update.abs().max() > 1e-4
    torch.testing.assert_close(out, plain + update, rtol=1e-4, atol=1e-5)
    assert child.hidden is None


def test_the_parallel_adapter_leaves_no_hook_behind(tiny_models):
    """After `detach` neither projection calls anything."""
    case, method = case_of("parallel_adapter", "llama", tiny_models), get_method("parallel_adapter")
    model = method.detach(trained("parallel_adapter", case))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(("architecture", "adapters"), [("bert", 6), ("llama", 6), ("t5", 15)])
def test_compacters_count_is_the_papers(architecture, adapters, tiny_models):
    """n³ shared, and for each adapter two projections of r (k + d) and their biases k + d."""
    case = case_of("compacter", architecture, tiny_models, bottleneck=16, divisions=4, rank=1)
    expected = 4**3 + adapters * (2 * 1 * (48 + 16) + 48 + 16)
    assert get_method("compacter").trainable(case.setup) == expected
    model = attached(get_method("compacter"), case)
    assert trainable_count(model) == expected + case.setup.model.head_parameters
    rules = {id(layer.rules) for child in _hooks.children(model) for layer in (child.down, child.up)}
    assert len(rules) == 1


def test_compacters_weight_is_the_sum_of_kronecker_products(tiny_models):
    """W = Σ Aᵢ ⊗ (sᵢ tᵢ), and every term's second factor has the given rank."""
    model = trained("compacter", case_of("compacter", "bert", tiny_models, bottleneck=16, divisions=4, rank=1))
    layer = _hooks.children(model)[0].down
    terms = [torch.kron(a, s @ t) for a, s, t in zip(layer.rules, layer.left, layer.right, strict=True)]
    torch.testing.assert_close(layer.weight(), torch.stack(terms).sum(0))
    assert all(rank(s @ t) == 1 for s, t in zip(layer.left, layer.right, strict=True))


def test_fusion_weights_sum_to_one_and_depend_on_the_position(tiny_models):
    """Shares of the adapters are a softmax: positive, one in sum, uniform at first, of each position's own later."""
    case = case_of("adapter_fusion", "bert", tiny_models, adapters=3, value="trained")
    hidden = torch.randn(2, 5, 48, generator=torch.Generator().manual_seed(0))
    fresh = _hooks.children(attached(get_method("adapter_fusion"), case))[0]
    torch.testing.assert_close(fresh.weights(hidden, fresh.updates(hidden)), torch.full((2, 5, 3), 1 / 3))
    child = _hooks.children(trained("adapter_fusion", case, steps=6))[0]
    shares = child.weights(hidden, child.updates(hidden))
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 5))
    assert (shares > 0).all()
    assert difference(shares[0, 0], shares[1, 3]) > 1e-3


def test_the_state_itself_drops_out_of_fusions_keys(tiny_models):
    """Keys of what the adapters add give the shares of keys of the adapted states, as the paper takes them."""
    child = _hooks.children(trained("adapter_fusion", case_of("adapter_fusion", "bert", tiny_models), steps=6))[0]
    hidden = torch.randn(4, 48, generator=torch.Generator().manual_seed(0))
    updates = child.updates(hidden)
    torch.testing.assert_close(child.weights(hidden, updates), child.weights(hidden, hidden.unsqueeze(-2) + updates))
