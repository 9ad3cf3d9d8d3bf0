"""What the variants of low-rank adaptation share: one call declares a variant from what is its own."""

from collections.abc import Callable, Mapping
from functools import partial
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NotRequired, Unpack

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _peft
from autopeft.methods._declaration import Capabilities, Facts, Method, Seed
from autopeft.methods._legal import declared_violations, rank_violations, refuse
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 1024, log=True),
    "alpha": IntDistribution(1, 4096, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
}


CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=True, identity_at_start=True,
    adds_latency=False, changes_base=False, takes_targets=True, takes_layers=True,
    servers=("vllm", "sglang", "tgi", "lorax", "llama.cpp"),
)  # fmt: skip
"""Of plain low-rank adaptation."""


class VariantFacts(Facts):
    """The fields of `Method` that `declare` passes through."""

    kind: NotRequired[Literal["method", "initialization"]]
    prepare: NotRequired[Callable[[Any, Setup, Any], None]]
    keeps_state: NotRequired[bool]
    held: NotRequired[Callable[[Setup], int]]
    memory_factor: NotRequired[float]
    baseline: NotRequired[Mapping[str, Seed]]


def config(setup: Setup, **variant: Any) -> Any:
    """Returns peft's config of a variant, such as ``use_dora`` or ``init_lora_weights``, or plain."""
    from peft import LoraConfig

    given = setup.candidate.parameters
    return LoraConfig(
        r=given["rank"], lora_alpha=given["alpha"], lora_dropout=given["dropout"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup), **variant,
    )  # fmt: skip


def parameters(setup: Setup) -> int:
    """Returns the parameters of both factors over the targeted modules: rank × (in + out) each."""
    rank = int(setup.candidate.parameters["rank"])
    return sum(rank * (module.in_features + module.out_features) for module in target_modules(setup))


def first_factors(setup: Setup) -> int:
    """Returns those of the first factors: rank × in each."""
    rank = int(setup.candidate.parameters["rank"])
    return sum(rank * module.in_features for module in target_modules(setup))


def too_large(setup: Setup) -> tuple[str, ...]:
    """Returns why the rank exceeds what a targeted module can hold."""
    return rank_violations(setup, setup.candidate.parameters.get("rank", 1))


def effective(attached: Any) -> dict[str, ParameterValue]:
    """Returns rank, alpha and dropout read from the injected layers; alpha is what their scaling amounts to."""
    from peft.tuners.lora import LoraLayer

    layers = _peft.layers(attached, LoraLayer)
    return {
        "rank": _peft.shared("rank", [_rank(layer) for layer in layers]),
        "alpha": _peft.shared("alpha", [_alpha(layer) for layer in layers]),
        "dropout": _peft.shared("dropout", [_peft.dropout_of(x.lora_dropout[_peft.ADAPTER]) for x in layers]),
    }


def _rank(layer: Any) -> int:
    return int(layer.lora_A[_peft.ADAPTER].weight.shape[0])


def _alpha(layer: Any) -> float:
    rank = _rank(layer)
    unit = sqrt(rank) if layer.use_rslora.get(_peft.ADAPTER) else rank
    return round(float(layer.scaling[_peft.ADAPTER] * unit), 6)


def violations(
    setup: Setup, capabilities: Capabilities, legal: Mapping[str, "BaseDistribution"] = LEGAL
) -> tuple[str, ...]:
    """Returns why a variant cannot apply: what its capabilities and the domains say, and a rank that is too large."""
    return (*declared_violations(setup, capabilities, legal), *too_large(setup))


def declare(
    *,
    capabilities: Capabilities,
    legal: Mapping[str, "BaseDistribution"] = LEGAL,
    trainable: Callable[[Setup], int] = parameters,
    first_factors: Callable[[Setup], int] = first_factors,
    refused: Callable[[Setup], tuple[str, ...]] | None = None,
    peft_config: Callable[[Setup], Any] = config,
    attach: Callable[[Any, Setup], Any] | None = None,
    effective: Callable[[Any], dict[str, ParameterValue]] = effective,
    detach: Callable[[Any], Any] = _peft.detach,
    save: Callable[[Any, Path], None] = _peft.save,
    load: Callable[[Any, Setup, Path], Any] | None = None,
    **facts: Unpack[VariantFacts],
) -> Method:
    """Returns the variant; what is not given is as in plain low-rank adaptation.

    Args:
        capabilities: what it can do; `merge` follows from it.
        legal: its parameters' domains.
        trainable: as in `Method`; so is the next.
        first_factors: as there.
        refused: `Method.violations`.
        peft_config: setup → peft's config, which is attached where ``attach`` is not given.
        attach: (task model, legal setup) → the attached model.
        effective: as in `Method`; so are the others.
        detach: as there.
        save: as there.
        load: as there; attaches and reads the saved values by default.
        facts: the other fields of `Method`.
    """
    checks = refused or partial(violations, capabilities=capabilities)
    apply = partial(_apply, checks=checks, attach=attach or partial(_attach, peft_config=peft_config))
    return Method(
        family="low-rank", capabilities=capabilities, legal=legal, trainable=trainable, violations=checks, apply=apply,
        first_factors=first_factors, peft_config=peft_config, effective=effective, detach=detach,
        merge=_peft.merge if capabilities.mergeable else None, save=save, load=load or partial(_load, apply=apply),
        **facts,
    )  # fmt: skip


def _attach(model: Any, setup: Setup, peft_config: Callable[[Setup], Any]) -> Any:
    return _peft.attach(model, peft_config(setup))


def _apply(
    model: Any, setup: Setup, checks: Callable[[Setup], tuple[str, ...]], attach: Callable[[Any, Setup], Any]
) -> Any:
    refuse(setup, checks)
    return attach(model, setup)


def _load(model: Any, setup: Setup, folder: Path, apply: Callable[[Any, Setup], Any]) -> Any:
    return _peft.load_into(apply(model, setup), folder)
