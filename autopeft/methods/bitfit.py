"""BitFit: only the biases of the layers train."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _native, _peft, _selective
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.methods._targets import layer_violations, selected_layers
from autopeft.values.candidates import Setup
from autopeft.values.profiles import ModuleShape

CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=True, identity_at_start=True,
    adds_latency=False, changes_base=True, takes_targets=False, takes_layers=True,
)  # fmt: skip

_WITH_BIAS = frozenset({"linear", "conv1d", "norm"})


def _modules(setup: Setup) -> tuple[ModuleShape, ...]:
    """Returns the projections and norms of the selected layers that have a bias, as the paper counts them."""
    layers = set(selected_layers(setup.model, setup.candidate))
    return tuple(m for m in setup.model.modules if m.kind in _WITH_BIAS and m.bias and m.layer in layers and not m.head)


def _trainable(setup: Setup) -> int:
    return sum(module.out_features for module in _modules(setup))


def _violations(setup: Setup) -> tuple[str, ...]:
    declared = declared_violations(setup, CAPABILITIES, {})
    if layer_violations(setup) or _modules(setup):
        return declared
    return (*declared, f"The selected layers of {setup.model.model_type} have no bias to train.")


def _choose(model: Any, setup: Setup) -> Iterable[Any]:
    return [model.get_submodule(module.name).bias for module in _modules(setup)]


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _selective.apply(model, setup, _choose)


METHOD = Method(
    name="bitfit",
    title="BitFit",
    family="selective",
    paper=Paper(
        title="BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
        year=2021, address="https://arxiv.org/abs/2106.10199",
    ),
    summary="Trains only the biases of the layers; under 0.1 % of the parameters, for models that have biases.",
    capabilities=CAPABILITIES,
    legal={},
    learning_rate=FloatDistribution(1e-5, 3e-2, log=True),
    seeds=(
        Seed(
            parameters={}, learning_rate=1e-3, targets="none",
            source="Ben Zaken et al., arXiv 2106.10199: biases take larger rates than full fine-tuning",
        ),
        Seed(
            parameters={}, learning_rate=4e-4, targets="none",
            source="Ben Zaken et al., arXiv 2106.10199, as above; a gentler start for long runs",
        ),
    ),
    trainable=_trainable,
    violations=_violations,
    apply=_apply,
    peft_config=_native.no_peft_config,
    effective=_selective.effective,
    detach=_native.detach,
    merge=_native.keep,
    save=_native.save,
    load=partial(_selective.load, apply=_apply),
    memory_factor=0.0,
)  # fmt: skip
