"""FRoD: a full basis shared by alike weights of all layers; each one's spectrum and a few rotations train."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import DTYPE_BYTES, ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "rotations": FloatDistribution(1e-6, 1.0, log=True),
    "dropout": FloatDistribution(0.0, 0.9),
}


def _pairs(width: int, share: float) -> int:
    """Returns how many pairs of directions are rotated: a share of the square, at least one, without the diagonal."""
    most = width * (width - 1)
    return max(1, min(int(width * width * share), most)) if most else 0


def _trainable(setup: Setup) -> int:
    """The spectrum, one value per input, and one value per rotated pair."""
    share = float(setup.candidate.parameters["rotations"])

    def values(module: ModuleShape) -> int:
        return module.in_features + _pairs(module.in_features, share)

    return _injected.total(setup, values)


def _held(setup: Setup) -> int:
    """A basis of each weight's outputs, as large as it, and one of the inputs of each kind, in the base's dtype.

    Beside the latter lie the places of the rotated pairs, two whole numbers each.
    """
    share, size = float(setup.candidate.parameters["rotations"]), DTYPE_BYTES[setup.candidate.dtype]
    kinds = {_alike(module): module.in_features for module in target_modules(setup)}
    shared = sum(size * width**2 + 16 * (_pairs(width, share) + 1) for width in kinds.values())
    return shared + _injected.total(setup, lambda module: size * module.in_features * module.out_features)


def _alike(module: ModuleShape) -> str:
    """Returns what peft calls weights of one kind by: the last two parts of their names."""
    *_, outer, owner, own = ["", "", *module.name.split(".")]
    if owner.isdecimal():
        return own
    return "attention_output" if (outer, owner, own) == ("attention", "output", "dense") else f"{owner}_{own}"


def _limits(setup: Setup) -> tuple[str, ...]:
    """Weights named alike share a basis of their inputs, so that they must have as many."""
    first: dict[str, ModuleShape] = {}
    for module in target_modules(setup):
        other = first.setdefault(_alike(module), module)
        if other.in_features != module.in_features:
            widths = f"{other.in_features} and {module.in_features}"
            return (f"{other.name} and {module.name} would share a basis, but their inputs are {widths} wide.",)
    return ()


def _config(setup: Setup) -> Any:
    from peft import FrodConfig

    given = setup.candidate.parameters
    return FrodConfig(
        sparse_rate=given["rotations"], frod_dropout=given["dropout"], progressbar=False,
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


@contextmanager
def _one_thread() -> Iterator[None]:
    """Computes the shared basis alike in every process: threads change how sums round, and inverses amplify it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _shared(attached: Any) -> list[Any]:
    """Returns what holds the bases of the inputs and the rotated pairs, which layers of a kind share.

    The sizes stay in main memory, where the layers read them as numbers.
    """
    return [attached.base_model.frod_V, attached.base_model.frod_s_indices]


def _settle(attached: Any) -> None:
    from peft.tuners.frod.layer import FrodLayer

    _injected.beside_weights(attached, FrodLayer)
    device = _peft.layers(attached, FrodLayer)[0].get_base_layer().weight.device
    for holder in _shared(attached):
        _injected.move_buffers(holder, device)


def _restore(attached: Any, _folder: Path) -> None:
    """Finds each weight's outputs in the loaded basis: peft does so in the one that it has made anew.

    That one has other signs and another order where another library or device has made it.
    """
    from peft.tuners.frod.layer import FrodLayer

    with _one_thread():
        for layer in _peft.layers(attached, FrodLayer):
            weight, held = layer.get_base_layer().weight, layer.frod_U[_peft.ADAPTER]
            stored = weight.T if layer.fan_in_fan_out else weight
            basis, _ = layer._calculate_frod_u_and_lambda(layer.frod_V[_peft.ADAPTER], stored)
            layer.frod_U[_peft.ADAPTER] = basis.to(held.device, held.dtype)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    """Returns the share asked for where it explains every layer's count, else what a layer has."""
    from peft.tuners.frod.layer import FrodLayer

    name, asked = _peft.ADAPTER, float(attached.peft_config[_peft.ADAPTER].sparse_rate)

    def share(layer: Any) -> float:
        width, pairs = layer.in_features, layer.frod_lambda_s_values[name].numel()
        return asked if pairs == _pairs(width, asked) else pairs / width**2

    return _injected.read(
        attached, FrodLayer, rotations=share, dropout=lambda layer: _peft.dropout_of(layer.frod_dropout[name])
    )


METHOD = _injected.declare(
    name="frod",
    title="FRoD",
    family="spectral",
    paper=Paper(
        title="FRoD: Full-Rank Efficient Fine-Tuning with Rotational Degrees",
        year=2026, address="https://doi.org/10.1609/aaai.v40i31.39813",
    ),
    summary="Trains each weight's spectrum in a shared basis, and some rotations: full rank, a second copy of weights.",
    capabilities=_injected.capable(),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-6, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"rotations": 0.01, "dropout": 0.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, frod/llama-3.2-3B-default: 0.509 on GSM8K, against 0.271 with"
            " twice the rotations at 1e-3",
        ),
        Seed(
            parameters={"rotations": 0.01, "dropout": 0.0}, learning_rate=2e-3,
            source="rate of the rotations in peft's example on SST-2 with BERT; the spectrum's is larger there",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    during=_one_thread,
    settle=_settle,
    restore=_restore,
    held=_held,
    traceable=False,  # peft solves for the shared basis on the processor, and asks a buffer for its sizes
    memory_factor=2.5,
)  # fmt: skip
