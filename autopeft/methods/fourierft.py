"""FourierFT: a few entries of the two-dimensional spectrum of each weight's update."""

from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _injected, _peft, _spectral
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue


def _config(setup: Setup) -> Any:
    """The coefficients start at zero, not drawn as in the paper: drawn ones drown the weights of small models."""
    from peft import FourierFTConfig

    given = setup.candidate.parameters
    return FourierFTConfig(
        n_frequency=given["frequencies"], scaling=given["scaling"], init_weights=True,
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.fourierft import FourierFTLayer

    return _injected.read(
        attached, FourierFTLayer, frequencies=lambda layer: int(layer.fourierft_spectrum[_peft.ADAPTER].shape[0]),
        scaling=lambda layer: float(layer.fourierft_scaling[_peft.ADAPTER]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="fourierft",
    title="FourierFT",
    family="spectral",
    paper=Paper(
        title="Parameter-Efficient Fine-Tuning with Discrete Fourier Transform",
        year=2024, address="https://arxiv.org/abs/2405.03003",
    ),
    summary="Learns a few spectral coefficients of each weight's update: very few parameters, very high rates.",
    capabilities=_injected.capable(quantized_base=True),
    legal=_spectral.LEGAL,
    learning_rate=FloatDistribution(1e-3, 5.0, log=True),
    seeds=(
        Seed(
            parameters={"frequencies": 1000, "scaling": 150.0}, learning_rate=5e-2,
            source="Gao et al., arXiv 2405.03003: 1,000 coefficients, scaling 100 to 300, rates of 1e-2 to 1e-1",
        ),
        Seed(
            parameters={"frequencies": 5000, "scaling": 300.0}, learning_rate=5e-2, targets="qv",
            source="size and scaling of peft method_comparison MetaMathQA, fourierft/llama-3.2-3B-n_frequency-5000:"
            " 0.096 on GSM8K at 1e-4, which starves it; the rate is the paper's",
        ),
    ),
    trainable=_spectral.trainable,
    config=_config,
    effective=_effective,
    held=_spectral.held,
    limits=_spectral.limits,
    memory_factor=2.0,
)  # fmt: skip
