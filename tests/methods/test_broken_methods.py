"""Deliberately broken methods: each makes exactly one check of the contract fail, so every check can."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.distributions import IntDistribution

from autopeft.methods import Method, get_method
from autopeft.methods._bottleneck import Bottleneck
from autopeft.profiling.model import read_model
from autopeft.quantization import get_quantization
from autopeft.testing import contract
from autopeft.testing.cases import Case, build, make_case

ADAPTER, FULL, LORA = get_method("pfeiffer_adapter"), get_method("full"), get_method("lora")
ENTROPY = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A method with one fault, the check that must see it, and one that rightly sees what follows from it, if any."""

    fault: str
    check: Callable[..., None]
    method: Method
    also: Callable[..., None] | None = None


def adapters(model: Any) -> list[Bottleneck]:
    return [module for module in model.modules() if isinstance(module, Bottleneck)]


def with_changed_adapters(change: Callable[[Bottleneck], Any]) -> Callable[[Any, Any], Any]:
    """An `apply` that does something to each adapter after attaching it."""

    def apply(model: Any, setup: Any) -> Any:
        attached = ADAPTER.apply(model, setup)
        with torch.no_grad():
            for adapter in adapters(attached):
                change(adapter)
        return attached

    return apply


def _nullified(adapter: Bottleneck) -> Any:
    """Lets zeros reach what lies before the middle: a gradient is there, and moves nothing."""
    return adapter.down.register_forward_hook(lambda _owner, _inputs, output: output.detach() + 0.0 * output)


def _ignore_activation(setup: Any) -> Any:
    parameters = {**setup.candidate.parameters, "activation": "gelu"}
    return replace(setup, candidate=replace(setup.candidate, parameters=parameters))


def _unused_weight(model: Any) -> Any:
    """The embedding of the last position, which no batch here reaches."""
    return model.bert.embeddings.position_embeddings.weight.data[-1]


def _wear_weight(model: Any, _step: int) -> None:
    _unused_weight(model).add_(1)


def _mend_weight(model: Any) -> Any:
    # three steps have added one each, in float32 not exactly undone by subtraction: the copy is put back
    _unused_weight(model).copy_(model.kept)
    return ADAPTER.detach(model)


def _apply_keeping_weight(model: Any, setup: Any) -> Any:
    model.kept = _unused_weight(model).clone()
    return ADAPTER.apply(model, setup)


def _apply_hoarding(model: Any, setup: Any) -> Any:
    attached = ADAPTER.apply(model, setup)

    def hoard(owner: Any, inputs: tuple[Any, ...], output: Any) -> None:
        owner.hoarded = [inputs[0].detach().clone()]

    adapters(attached)[0].register_forward_hook(hoard)
    return attached


def _mark(model: Any) -> Any:
    model.worn = True
    return ADAPTER.detach(model)


def _apply_seeing_mark(model: Any, setup: Any) -> Any:
    scale = 2 if hasattr(model, "worn") else 1
    return with_changed_adapters(lambda adapter: adapter.down.weight.mul_(scale))(model, setup)


def _detach_coarser(model: Any) -> Any:
    restored = FULL.detach(model)
    weights = restored.bert.embeddings.word_embeddings.weight
    weights.data = weights.data.to(torch.bfloat16)
    return restored


def _save_tenfold(model: Any, folder: Path) -> None:
    LORA.save(model, folder)
    path = folder / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 8', '"lora_alpha": 80'))


def _apply_with_entropy(model: Any, setup: Any) -> Any:
    # the same model draws the same noise again, so that attaching twice stays repeatable
    model.noise = getattr(model, "noise", None) or next(ENTROPY) / 100
    return with_changed_adapters(lambda adapter: adapter.down.weight.add_(model.noise))(model, setup)


BROKEN = (
    Broken(fault="no title", check=contract.check_declared_facts, method=replace(ADAPTER, title="")),
    Broken(
        fault="a seed outside the legal domain", check=contract.check_seeds_are_legal,
        method=replace(ADAPTER, seeds=(replace(ADAPTER.seeds[0], learning_rate=1.0),)),
    ),
    Broken(
        fault="a searched range wider than the legal domain", check=contract.check_default_range,
        method=replace(ADAPTER, legal={**ADAPTER.legal, "bottleneck": IntDistribution(16, 4096)}),
    ),
    Broken(
        fault="refuses in words what it accepts in deed", check=contract.check_violations_match_apply,
        method=replace(ADAPTER, violations=lambda _setup: ("It cannot be done.",)),
    ),
    Broken(
        fault="accepts in words what it refuses in deed", check=contract.check_violations_match_apply,
        method=replace(ADAPTER, violations=lambda _setup: ("",)),
    ),
    Broken(
        fault="another activation takes effect", check=contract.check_effective_parameters,
        method=replace(
            ADAPTER, apply=lambda model, setup: ADAPTER.apply(model, _ignore_activation(setup)),
            load=lambda model, setup, folder: ADAPTER.load(model, _ignore_activation(setup), folder),
        ),
    ),
    Broken(
        fault="counts one parameter too many", check=contract.check_trainable_count,
        method=replace(ADAPTER, trainable=lambda setup: ADAPTER.trainable(setup) + 1),
    ),
    Broken(
        fault="goes by the name of a method of another size", check=contract.check_estimate_counts_what_trains,
        method=replace(ADAPTER, name="houlsby_adapter"),
    ),
    Broken(
        fault="holds more than it is made of", check=contract.check_memory_estimate,
        method=replace(ADAPTER, apply=_apply_hoarding),
    ),
    Broken(
        fault="declares something frozen that is not there", check=contract.check_held_is_what_stands_frozen,
        method=replace(ADAPTER, held=lambda _setup: 4096),
    ),
    Broken(
        fault="trains the base in secret", check=contract.check_only_declared_parameters_train,
        method=replace(ADAPTER, apply=_apply_keeping_weight, after_step=_wear_weight, detach=_mend_weight),
    ),
    Broken(
        fault="declares a change of the base that it does not make",
        check=contract.check_only_declared_parameters_train,
        method=replace(ADAPTER, capabilities=replace(ADAPTER.capabilities, changes_base=True)),
    ),
    Broken(
        fault="leaves a base that a copy cannot mend", check=contract.check_base_comes_back,
        method=replace(FULL, detach=_detach_coarser),
    ),
    Broken(
        fault="no gradient reaches half of the adapter", check=contract.check_gradients_reach_everything,
        also=contract.check_memory_estimate,
        method=replace(
            ADAPTER,
            apply=with_changed_adapters(
                lambda adapter: adapter.down.register_forward_hook(lambda _owner, _inputs, output: output.detach())
            ),
        ),
    ),
    Broken(
        fault="the gradient of half of the adapter is zero", check=contract.check_gradients_reach_everything,
        method=replace(ADAPTER, apply=with_changed_adapters(_nullified)),
    ),
    Broken(
        fault="leaves the model frozen", check=contract.check_detach_restores,
        method=replace(ADAPTER, detach=lambda model: ADAPTER.detach(model).requires_grad_(requires_grad=False)),
    ),
    Broken(
        fault="a second attachment starts elsewhere", check=contract.check_reattaches,
        method=replace(ADAPTER, apply=_apply_seeing_mark, detach=_mark),
    ),
    Broken(
        fault="adds something from the start", check=contract.check_identity_at_start,
        method=replace(ADAPTER, apply=with_changed_adapters(lambda adapter: adapter.up.bias[0].fill_(0.1))),
    ),
    Broken(
        fault="loads nothing", check=contract.check_save_and_load,
        method=replace(ADAPTER, load=lambda model, setup, _folder: ADAPTER.apply(model, setup)),
    ),
    Broken(
        fault="writes a checkpoint under peft's name that peft would take otherwise",
        check=contract.check_loads_in_plain_peft, method=replace(LORA, save=_save_tenfold),
    ),
    Broken(
        fault="merges without the trained head", check=contract.check_merge, method=replace(FULL, merge=FULL.detach)
    ),
    Broken(
        fault="draws from entropy", check=contract.check_same_seed_same_losses,
        method=replace(ADAPTER, apply=_apply_with_entropy),
    ),
    Broken(
        fault="denies that it works on a quantized base", check=contract.check_quantized_base,
        method=replace(ADAPTER, capabilities=replace(ADAPTER.capabilities, quantized_base=False)),
    ),
    Broken(
        fault="claims a quantized base that it refuses", check=contract.check_quantized_base,
        method=replace(FULL, capabilities=replace(FULL.capabilities, quantized_base=True)),
    ),
)  # fmt: skip


def failing(method: Method, case: Case, quantized: Callable[[], Any]) -> set[str]:
    """The names of all checks that the method fails; `check_quantized_base` repeats others and runs for itself."""
    runs: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
        *((fact, (method,)) for fact in contract.FACTS),
        *((one, (method, case)) for one in contract.CHECKS),
    ]
    found = {check.__name__ for check, arguments in runs if _fails(check, arguments)}
    if not found and _fails(contract.check_quantized_base, (method, case, "nf4", quantized)):
        found.add(contract.check_quantized_base.__name__)
    return found


def _fails(check: Callable[..., None], arguments: tuple[Any, ...]) -> bool:
    try:
        check(*arguments)
    except contract.ContractError:
        return True
    return False


@pytest.fixture(scope="module")
def place(tiny_models):
    """(method → its case on the tiny encoder, that model in NF4)."""
    folder = tiny_models["bert"]
    config = get_quantization("nf4").config("float32")

    def case_of(method: Method) -> Case:
        return make_case(method, "bert", "classification", folder, read_model)

    return case_of, lambda: build(folder, "classification", "encoder", 3, quantization_config=config)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.fault.replace(" ", "-"))
def test_exactly_the_meant_check_fails(broken, place):
    """A fault is seen by the check that is there for it, and by no other that it does not concern."""
    case_of, quantized = place
    expected = {check.__name__ for check in (broken.check, broken.also) if check is not None}
    assert failing(broken.method, case_of(broken.method), quantized) == expected


@pytest.mark.parametrize("method", [ADAPTER, FULL, LORA], ids=lambda method: method.name)
def test_the_whole_methods_pass(method, place):
    """The methods that were broken are sound, so the faults are the only reason."""
    case_of, quantized = place
    assert failing(method, case_of(method), quantized) == set()


def test_every_check_is_shown_to_fail():
    """A check that is added needs a method that fails it, and stands in a list that is run."""
    written = {name for name in vars(contract) if name.startswith("check_")} - {"check_facts"}
    listed = {check.__name__ for check in (*contract.FACTS, *contract.CHECKS, contract.check_quantized_base)}
    assert written == listed == {broken.check.__name__ for broken in BROKEN}
