"""PSOFT: rotates and scales the principal subspace of each weight, and leaves the rest."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.errors import ModelError
from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# A rotation needs two directions. peft's alpha cancels out, so it is no parameter here.
LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(2, 1024, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
}
FACTORS_FILE = "psoft_factors.safetensors"


def _trainable(setup: Setup) -> int:
    """One angle per pair of directions, and two scales per direction."""
    rank = _injected.number(setup, "rank")
    return len(target_modules(setup)) * (rank * (rank - 1) // 2 + 2 * rank)


def _limits(setup: Setup) -> tuple[str, ...]:
    return (*_injected.plain_limits(setup), *_injected.rank_limits(setup))


def _config(setup: Setup) -> Any:
    """Finds the subspace by a randomized decomposition: as good in the measured runs as the full one, and fast."""
    from peft import PsoftConfig

    given = setup.candidate.parameters
    return PsoftConfig(
        r=given["rank"], psoft_alpha=given["rank"], psoft_dropout=given["dropout"], psoft_svd="lowrank",
        **_peft.injected(setup),
    )  # fmt: skip


def _held(setup: Setup) -> int:
    """Both frozen factors of each weight, float32, and the two places of each angle, whole numbers of eight bytes."""
    rank = _injected.number(setup, "rank")
    places = 16 * (rank * (rank - 1) // 2)
    return _injected.total(setup, lambda module: 4 * rank * (module.in_features + module.out_features) + places)


def _factors(attached: Any) -> dict[str, Any]:
    """Returns the frozen factors by the names they are saved under."""
    from peft.tuners.psoft import PsoftLayer

    found: dict[str, Any] = {}
    for name, layer in attached.named_modules():
        if isinstance(layer, PsoftLayer):
            first, second = layer._get_psoft_ab_cache_buffers(_peft.ADAPTER)
            found |= {f"{name}.A": first, f"{name}.B": second}
    return found


def _save(attached: Any, folder: Path) -> None:
    """Writes the frozen factors too: found anew elsewhere, the same directions may point the other way."""
    from safetensors.torch import save_file

    _peft.save(attached, folder)
    save_file({name: value.cpu().contiguous() for name, value in _factors(attached).items()}, folder / FACTORS_FILE)


def _restore(attached: Any, folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    path = folder / FACTORS_FILE
    if not path.is_file():
        raise ModelError(f"{path} does not exist: without it the saved rotations turn other directions.")
    stored, wanted = load_file(path), _factors(attached)
    if {name: value.shape for name, value in stored.items()} != {name: value.shape for name, value in wanted.items()}:
        raise ModelError(f"{path} holds other factors than the attached ones: it was saved from another model.")
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(stored[name])


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.psoft import PsoftLayer

    return _injected.read(
        attached, PsoftLayer, rank=lambda layer: int(layer.psoft_R[_peft.ADAPTER].vector_a.shape[0]),
        dropout=lambda layer: _peft.dropout_of(layer.psoft_dropout[_peft.ADAPTER]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="psoft",
    title="PSOFT",
    family="orthogonal",
    paper=Paper(
        title="Efficient Orthogonal Fine-Tuning with Principal Subspace Adaptation",
        year=2025, address="https://arxiv.org/abs/2505.11235",
    ),
    summary="Rotates each weight's principal directions among themselves: parameters do not grow with the model.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 256, "dropout": 0.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, psoft/llama-3.2-3B-fast: 0.450 on GSM8K from 1.9 M parameters;"
            " its rotations are approximate where these are exact",
        ),
        Seed(
            parameters={"rank": 64, "dropout": 0.0}, learning_rate=5e-4,
            source="peft's documentation advises rates of 1e-4 to 5e-3; a rank for models of a few hundred features",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    save=_save,
    restore=_restore,
    held=_held,
    memory_factor=1.5,
)  # fmt: skip
