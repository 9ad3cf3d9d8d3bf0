"""What the optimizers step over, what decays, and where they run."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from autopeft.errors import InvalidValueError
from autopeft.methods import all_methods
from autopeft.methods._declaration import nothing
from autopeft.optimizers import _groups, all_optimizers, get_optimizer
from autopeft.profiling.model import read_model
from autopeft.testing.cases import built, example
from autopeft.values.candidates import Setup

NAMES = {
    "adafactor", "adamw", "adamw_8bit", "adamw_foreach", "adamw_fused", "galore", "lion", "lora_fa", "lora_plus",
    "paged_adamw_8bit", "riemannian",
}  # fmt: skip
OF_PEFT = {"lora_fa", "riemannian"}
"""They take peft's models and nothing else; their tests stand apart."""
ON_CPU = sorted(name for name, optimizer in all_optimizers().items() if not optimizer.needs_cuda)


class Pair(nn.Module):
    """A low-rank pair as peft names it, beside a scale, a norm and a head; the base is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(96, 96)
        self.base.requires_grad_(requires_grad=False)
        self.lora_A = nn.ModuleDict({"default": nn.Linear(96, 64, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(64, 96, bias=False)})
        self.scale = nn.Parameter(torch.ones(96, 1))
        self.norm = nn.LayerNorm(96)
        self.classifier = nn.Linear(96, 2)

    def forward(self, rows):
        update = self.lora_B["default"](self.lora_A["default"](rows))
        return self.classifier(self.norm(self.base(rows) * self.scale[:, 0] + update))


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return Pair()


def rates(optimizer: Any, model: nn.Module) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) by parameter name; fails where a parameter stands in two groups."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [(names[id(p)], (g["lr"], g["weight_decay"])) for g in optimizer.param_groups for p in g["params"]]
    assert len(found) == len(dict(found))
    return dict(found)


def test_every_optimizer_is_found():
    """The catalogue holds exactly the optimizers that commands and files may name."""
    assert set(all_optimizers()) == NAMES


def test_an_unknown_optimizer_is_refused():
    """A wrong name gets the right ones and the closest of them."""
    with pytest.raises(InvalidValueError, match=r"(?s)`optimizer` of a candidate .*Did you mean 'adamw'"):
        get_optimizer("adamv")


def test_paging_is_said_to_need_cuda():
    """Only the paged optimizer is a different one without CUDA, so only it is kept from a CPU."""
    assert sorted(NAMES - set(ON_CPU)) == ["paged_adamw_8bit"]


@pytest.mark.parametrize("name", sorted(NAMES - OF_PEFT))
def test_only_what_trains_is_stepped_over_and_only_matrices_decay(name, pair):
    """Frozen weights are left out; biases, norms and scaling vectors do not decay."""
    found = rates(get_optimizer(name).build(pair, 1e-3, 0.1), pair)
    assert set(found) == {n for n, p in pair.named_parameters() if p.requires_grad}
    assert {n for n, (_, decay) in found.items() if decay} == {
        "lora_A.default.weight", "lora_B.default.weight", "classifier.weight",
    }  # fmt: skip
    assert {decay for _, decay in found.values()} == {0.1, 0.0}


def losses_of(model, optimizer, rows, labels, steps):
    """The losses of so many steps on the same rows."""
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(rows), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", sorted(set(ON_CPU) - OF_PEFT))
def test_it_learns_on_a_cpu(name, pair):
    """Each optimizer that claims to run without CUDA lowers a loss there, and leaves the frozen base alone."""
    rows, labels = torch.randn(32, 96), torch.arange(32) % 2
    base = pair.base.weight.clone()
    optimizer = get_optimizer(name).build(pair, 1e-3, 0.01)
    losses = losses_of(pair, optimizer, rows, labels, 20)
    assert losses[-1] < 0.7 * losses[0]
    assert torch.equal(pair.base.weight, base)


@pytest.mark.parametrize("name", sorted(set(ON_CPU) - OF_PEFT))
def test_declared_state_is_the_kept_state(name):
    """The state an estimate counts on is what a step leaves, for a matrix of typical size."""
    rows, columns = get_optimizer(name).typical_matrix
    model = nn.Module()
    model.lora_B = nn.Linear(columns, rows, bias=False)
    optimizer = get_optimizer(name).build(model, 1e-3, 0.0)
    model.lora_B.weight.grad = torch.randn_like(model.lora_B.weight)
    optimizer.step()
    kept = [
        v for s in optimizer.state.values() for k, v in s.items() if torch.is_tensor(v) and not k.startswith("qmap")
    ]
    measured = sum(v.numel() * v.element_size() for v in kept) / model.lora_B.weight.numel()
    assert measured == pytest.approx(get_optimizer(name).state_bytes_per_parameter, rel=0.01)


def test_lora_plus_speeds_up_only_the_second_factors(pair):
    """The B matrices get sixteen times the rate; the A matrices, norms, biases and the head keep theirs."""
    optimizer = get_optimizer("lora_plus")
    found = rates(optimizer.build(pair, 1e-3, 0.1), pair)
    assert {n for n, (rate, _) in found.items() if rate == pytest.approx(16e-3)} == {"lora_B.default.weight"}
    assert {rate for n, (rate, _) in found.items() if "lora_B" not in n} == {1e-3}
    assert optimizer.options == {"ratio": 16.0}


def test_lora_plus_refuses_a_model_without_second_factors():
    """Where there is nothing to speed up, the user learns it instead of getting plain AdamW under another name."""
    with pytest.raises(InvalidValueError, match="the model trains no low-rank pair with a B matrix"):
        get_optimizer("lora_plus").build(nn.Linear(4, 4), 1e-3, 0.0)


def test_the_fused_optimizer_is_fused_or_refused(pair, monkeypatch):
    """It never runs as another kernel under the same name; a model of shapes alone can be counted with it."""
    assert get_optimizer("adamw_fused").build(pair, 1e-3, 0.0).defaults["fused"] is True
    monkeypatch.setattr(_groups, "_FUSED_DEVICES", frozenset({"cuda"}))
    with pytest.raises(InvalidValueError, match="an optimizer that the model's device has a kernel for"):
        get_optimizer("adamw_fused").build(pair, 1e-3, 0.0)
    get_optimizer("adamw_fused").build(pair.to("meta"), 1e-3, 0.0)


def test_the_optimizer_over_lists_of_tensors_is_no_other_kernel(pair):
    """Left to itself torch takes the fused kernel nowhere, and tensors one by one on a CPU."""
    defaults = get_optimizer("adamw_foreach").build(pair, 1e-3, 0.0).defaults
    assert (defaults["foreach"], defaults["fused"]) == (True, None)


def test_galore_moves_large_matrices_within_its_rank():
    """A step changes a large matrix by rank 16 at most, in the gradient's main directions, wide or tall."""
    torch.manual_seed(0)
    for rows, columns in ((64, 40), (40, 64)):
        model = nn.Linear(columns, rows, bias=False)
        optimizer = get_optimizer("galore").build(model, 1e-2, 0.0)
        before = model.weight.detach().clone()
        gradient = torch.randn(rows, columns)
        model.weight.grad = gradient.clone()
        optimizer.step()
        moved = model.weight.detach() - before
        assert int((torch.linalg.svdvals(moved) > 1e-5).sum()) == 16
        u, _, vh = torch.linalg.svd(gradient)
        inside = moved @ vh[:16].T @ vh[:16] if rows > columns else u[:, :16] @ u[:, :16].T @ moved
        assert torch.allclose(inside, moved, atol=1e-6)


def test_galore_renews_its_projection_every_gap():
    """The projection follows the gradient after 200 steps, not before."""
    model = nn.Linear(40, 64, bias=False)
    optimizer = get_optimizer("galore").build(model, 1e-4, 0.0)
    seen = []
    for _ in range(201):
        model.weight.grad = torch.randn_like(model.weight)
        optimizer.step()
        seen.append(optimizer.state[model.weight]["projection"])
    assert torch.equal(seen[0], seen[199])
    assert not torch.equal(seen[0], seen[200])


def test_galore_refuses_what_it_would_not_project():
    """Adapters are below its rank already, and plain AdamW under another name helps nobody."""
    with pytest.raises(InvalidValueError, match="no trained matrix has both sides above 16"):
        get_optimizer("galore").build(nn.Linear(1024, 16), 1e-3, 0.0)


@pytest.fixture
def low_rank():
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.Linear(40, 2))
    return get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["0"], modules_to_save=["1"]))


def test_lora_fa_freezes_the_first_factors_and_learns(low_rank):
    """A stays as it was drawn, B and the head learn, and what is kept is two moments of what still trains."""
    rows, labels = torch.randn(32, 24), torch.arange(32) % 2
    optimizer = get_optimizer("lora_fa").build(low_rank, 1e-2, 0.0)
    trained = {n: p.detach().clone() for n, p in low_rank.named_parameters() if p.requires_grad}
    assert not any("lora_A" in name for name in trained)
    first = {n: p.detach().clone() for n, p in low_rank.named_parameters() if "lora_A" in n}
    losses = losses_of(low_rank, optimizer, rows, labels, 30)
    assert losses[-1] < 0.7 * losses[0]
    after = dict(low_rank.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in first.items())
    assert not any(torch.equal(after[name], value) for name, value in trained.items())
    kept = sum(v.numel() * v.element_size() for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v))
    declared = get_optimizer("lora_fa").state_bytes_per_parameter
    assert kept / sum(v.numel() for v in trained.values()) == declared


def test_what_an_optimizer_freezes_is_what_methods_declare(tiny_models):
    """A run trains what its method does less what its optimizer freezes, for every method the optimizer takes."""
    taken, refused = set(), set()
    model = read_model(str(tiny_models["llama"]), "generation")
    for method in all_methods().values():
        tried = Setup(model=model, task="generation", candidate=example(method))
        if method.first_factors is nothing or method.violations(tried):
            continue
        attached = method.apply(built(tried), tried)
        try:
            get_optimizer("lora_fa").build(attached, 1e-3, 0.0)
        except InvalidValueError:
            refused.add(method.name)
            continue
        taken.add(method.name)
        left = sum(p.numel() for p in attached.parameters() if p.requires_grad)
        assert left == method.trainable(tried) - method.first_factors(tried) > 0, method.name
    assert refused == {"dora", "mica"}
    assert taken > {"lora", "rslora", "bdlora", "velora", "pissa"}


@pytest.mark.parametrize("name", sorted(OF_PEFT))
def test_pefts_own_refuse_a_model_without_pefts_pairs(name, pair):
    """They need to know which factors belong together, which peft's config and names say."""
    with pytest.raises(InvalidValueError, match="no low-rank pairs of peft's"):
        get_optimizer(name).build(pair, 1e-3, 0.0)


def test_a_riemannian_step_does_not_depend_on_how_the_product_is_shared(low_rank):
    """The gradient of B is divided by A Aᵀ: with A ten times as large, B's step in the product stays as long."""
    layer = next(m for m in low_rank.modules() if hasattr(m, "lora_A") and "default" in m.lora_A)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    slope, given = torch.randn(b.shape[0], a.shape[1]), []
    for size in (10.0, 100.0):
        with torch.no_grad():
            a.copy_(size * torch.eye(*a.shape))
        optimizer = get_optimizer("riemannian").build(low_rank, 0.0, 0.0)
        b.grad, a.grad = slope @ a.detach().T, torch.zeros_like(a)
        optimizer.step()
        given.append(b.grad @ a.detach())
    assert torch.allclose(given[0], given[1], rtol=1e-3, atol=1e-5)


def test_a_riemannian_optimizer_learns_and_decays_matrices_alone(low_rank):
    """Pairs and head learn; the head's bias does not decay; what is kept is two moments."""
    rows, labels = torch.randn(32, 24), torch.arange(32) % 2
    optimizer = get_optimizer("riemannian").build(low_rank, 1e-2, 0.1)
    decayed = {name: decay for name, (_, decay) in rates(optimizer, low_rank).items()}
    assert {name for name, decay in decayed.items() if decay == 0.0} == {
        name for name, p in low_rank.named_parameters() if p.requires_grad and p.ndim == 1
    }
    losses = losses_of(low_rank, optimizer, rows, labels, 30)
    assert losses[-1] < 0.7 * losses[0]
    kept = sum(v.numel() * v.element_size() for s in optimizer.state.values() for n, v in s.items() if n != "step")
    trained = sum(p.numel() for p in low_rank.parameters() if p.requires_grad)
    assert kept / trained == get_optimizer("riemannian").state_bytes_per_parameter


def test_adamw_is_fused_where_it_can_be(pair):
    """The fused form is used on a CPU, and not where a parameter's device has none."""
    assert get_optimizer("adamw").build(pair, 1e-3, 0.0).defaults["fused"] is True
    assert get_optimizer("adamw").build(pair.to("meta"), 1e-3, 0.0).defaults["fused"] is False


def test_the_paged_optimizer_falls_back_on_a_cpu(pair):
    """The reason it is kept from a CPU: there bitsandbytes warns and does not page."""
    optimizer = get_optimizer("paged_adamw_8bit").build(pair, 1e-3, 0.0)
    pair(torch.randn(4, 96)).sum().backward()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.step()
    assert any("not supported on CPU" in str(w.message) for w in caught)
