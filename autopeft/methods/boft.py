"""BOFT: orthogonal blocks like OFT's, from a butterfly factorization, and a scale per output."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {"block_size": IntDistribution(2, 256, log=True)}


def _trainable(setup: Setup) -> int:
    """A square matrix per block of inputs, of which the skew-symmetric part counts, and a scale per output."""
    size = _injected.number(setup, "block_size")
    return _injected.total(setup, lambda module: module.in_features * size + module.out_features)


def _limits(setup: Setup) -> tuple[str, ...]:
    divided = _injected.division_limits(setup, "block_size", inputs=True, outputs=False)
    return (*_injected.plain_limits(setup), *divided)


def _config(setup: Setup) -> Any:
    """One butterfly factor: more need a CUDA extension, without which peft falls back to one, with a warning."""
    from peft import BOFTConfig

    size = setup.candidate.parameters["block_size"]
    return BOFTConfig(boft_block_size=size, boft_n_butterfly_factor=1, **_peft.injected(setup))


@contextmanager
def _built_quickly() -> Iterator[None]:
    """Keeps peft from what takes most of the time of building a layer.

    It compiles a CUDA extension, which one factor does not need and every layer tries anew, and it sets the entries of
    a permutation matrix one by one.
    """
    from peft.tuners.boft import layer

    compiled, permuted = layer.get_fbd_cuda, layer.BOFTLayer.perm2mat
    layer.get_fbd_cuda = lambda: None
    layer.BOFTLayer.perm2mat = lambda _self, indices: permutation_matrix(indices)
    try:
        yield
    finally:
        layer.get_fbd_cuda, layer.BOFTLayer.perm2mat = compiled, permuted


def permutation_matrix(indices: Any) -> Any:
    """Returns the matrix, [n, n], whose row k has its 1 in column ``indices[k]``."""
    import torch

    size = len(indices)
    return torch.zeros(size, size).scatter_(1, indices.unsqueeze(1), 1.0)


def _settle(attached: Any) -> None:
    from peft.tuners.boft.layer import BOFTLayer

    _injected.beside_weights(attached, BOFTLayer)


def _held(setup: Setup) -> int:
    """A square permutation matrix of each weight's inputs, float32."""
    return _injected.total(setup, lambda module: 4 * module.in_features**2)


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.boft.layer import BOFTLayer

    return _injected.read(attached, BOFTLayer, block_size=lambda layer: int(layer.boft_R[_peft.ADAPTER].shape[-1]))


METHOD = _injected.declare(
    name="boft",
    title="BOFT",
    family="orthogonal",
    paper=Paper(
        title="Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization",
        year=2023, address="https://arxiv.org/abs/2311.06243",
    ),
    summary="Rotates inputs block by block and scales outputs; slow, since it forms a square matrix per weight.",
    capabilities=_injected.capable(quantized_base=True),
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-5, 1e-2, log=True),
    seeds=(
        Seed(
            parameters={"block_size": 4}, learning_rate=1e-3,
            source="block size of peft method_comparison MetaMathQA, boft/llama-3.2-3B-default: 0.343 on GSM8K at 1e-4,"
            " where it had learnt little; the rate is raised tenfold",
        ),
        Seed(
            parameters={"block_size": 8}, learning_rate=2e-4,
            source="block size of Liu et al., arXiv 2311.06243, on GLUE; the rate is set here and not measured",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    during=_built_quickly,
    settle=_settle,
    held=_held,
    memory_factor=2.0,
)  # fmt: skip
