"""LN tuning: the layers' norms train, and nothing else.

peft trains copies of them in the base's dtype; those of float16 are made float32. In bfloat16 a weight near 1 moves
in steps of 0.004, so rates below some 1e-3 change nothing: the measured run at 1e-4 scored 0.000 on GSM8K.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Capabilities, Paper, Seed
from autopeft.methods._targets import selected_layers
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

CAPABILITIES = Capabilities(
    tasks=_peft.ALL_TASKS, models=_peft.ALL_KINDS, quantized_base=True, mergeable=True, identity_at_start=True,
    adds_latency=False, changes_base=False, takes_targets=False, takes_layers=True,
)  # fmt: skip


def _norms(setup: Setup) -> tuple[ModuleShape, ...]:
    """Returns the norms of the selected layers; of all layers, those before and behind them too."""
    layers = set(selected_layers(setup.model, setup.candidate))
    everywhere = setup.candidate.layers == "all"
    norms = [m for m in setup.model.modules if m.kind == "norm" and not m.head]
    return tuple(m for m in norms if m.layer in layers or (everywhere and m.layer is None))


def _trainable(setup: Setup) -> int:
    return sum(module.parameters for module in _norms(setup))


def _limits(setup: Setup) -> tuple[str, ...]:
    return () if _norms(setup) else (f"The selected layers of {setup.model.model_type} have no norm to train.",)


def _config(setup: Setup) -> Any:
    from peft import LNTuningConfig

    return LNTuningConfig(target_modules=[module.name for module in _norms(setup)], **_peft.head(setup))


@contextmanager
def _quietly() -> Iterator[None]:
    # peft asks every layer for the widths of a linear one, and warns that a norm is none.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unsupported layer type", category=UserWarning)
        yield


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.ln_tuning.layer import LNTuningLayer

    return _injected.read(attached, LNTuningLayer)


METHOD = _injected.declare(
    name="ln_tuning",
    title="LN tuning",
    family="selective",
    paper=Paper(
        title="Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning",
        year=2023, address="https://arxiv.org/abs/2312.11420",
    ),
    summary="Trains only the weights and biases of the norms: some 0.01 % of the parameters, at high rates.",
    capabilities=CAPABILITIES,
    legal={},
    learning_rate=FloatDistribution(1e-4, 1e-1, log=True),
    seeds=(
        Seed(
            parameters={}, learning_rate=5e-3, targets="none",
            source="set here above what bfloat16 can show; peft method_comparison MetaMathQA,"
            " ln_tuning/llama-3.2-3B-default: 0.000 on GSM8K at 1e-4",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    during=_quietly,
    memory_factor=0.5,
)  # fmt: skip
