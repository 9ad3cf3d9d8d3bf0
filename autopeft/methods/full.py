"""Full fine-tuning: every parameter trains, or every parameter of the selected layers."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _native, _peft, _selective
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.methods._targets import selected_layers
from autopeft.values.candidates import Setup
from autopeft.values.profiles import ModuleShape

CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=False, mergeable=True, identity_at_start=True,
    adds_latency=False, changes_base=True, takes_targets=False, takes_layers=True,
    servers=("vllm", "sglang", "tgi", "llama.cpp"),
)  # fmt: skip


def _modules(setup: Setup) -> tuple[ModuleShape, ...]:
    """Returns what trains besides the head: embeddings and final norms only when all layers do."""
    every = setup.candidate.layers == "all"
    layers = set(selected_layers(setup.model, setup.candidate))
    return tuple(m for m in setup.model.modules if not m.head and (every or m.layer in layers))


def _trainable(setup: Setup) -> int:
    return sum(module.parameters for module in _modules(setup))


def _violations(setup: Setup) -> tuple[str, ...]:
    return declared_violations(setup, CAPABILITIES, {})


def _choose(model: Any, setup: Setup) -> Iterable[Any]:
    return [p for m in _modules(setup) for p in model.get_submodule(m.name).parameters(recurse=False)]


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _selective.apply(model, setup, _choose)


METHOD = Method(
    name="full",
    title="full fine-tuning",
    family="full",
    paper=Paper(
        title="BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
        year=2018, address="https://arxiv.org/abs/1810.04805",
    ),
    summary="Trains every parameter: the most memory, and the most risk of forgetting.",
    capabilities=CAPABILITIES,
    legal={},
    learning_rate=FloatDistribution(1e-6, 1e-3, log=True),
    seeds=(
        Seed(
            parameters={}, learning_rate=2e-5, targets="none",
            source="Devlin et al., arXiv 1810.04805, section A.3: 5e-5, 3e-5 or 2e-5",
        ),
        Seed(
            parameters={}, learning_rate=1e-4, targets="none",
            source="Schulman et al., LoRA Without Regret (2025): a tenth of low-rank adaptation's best rate",
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
)  # fmt: skip
