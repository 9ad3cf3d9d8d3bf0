"""WaveFT: a few wavelet coefficients of each weight's update."""

from typing import Any

from optuna.distributions import FloatDistribution

from autopeft.methods import _injected, _peft, _spectral
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue


def _config(setup: Setup) -> Any:
    """Haar wavelets, the paper's choice; longer ones need padding, in which coefficients can be lost."""
    from peft import WaveFTConfig

    given = setup.candidate.parameters
    return WaveFTConfig(
        n_frequency=given["frequencies"], scaling=given["scaling"], wavelet_family="db1",
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.waveft import WaveFTLayer

    return _injected.read(
        attached, WaveFTLayer, frequencies=lambda layer: int(layer.waveft_spectrum[_peft.ADAPTER].shape[0]),
        scaling=lambda layer: float(layer.waveft_scaling[_peft.ADAPTER]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="waveft",
    title="WaveFT",
    family="spectral",
    paper=Paper(
        title="Exploring Sparsity for Parameter Efficient Fine Tuning Using Wavelets",
        year=2025, address="https://arxiv.org/abs/2505.12532",
    ),
    summary="Learns a few wavelet coefficients of each weight's update: very few parameters, and local.",
    capabilities=_injected.capable(quantized_base=True),
    legal=_spectral.LEGAL,
    learning_rate=FloatDistribution(1e-5, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"frequencies": 2592, "scaling": 25.0}, learning_rate=1e-3,
            source="count and scaling of Bilican et al., arXiv 2505.12532; the rate is set here and not measured",
        ),
        Seed(
            parameters={"frequencies": 5000, "scaling": 25.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, waveft/llama-3.2-3B-n_frequency-5000: 0.403 on GSM8K"
            " from 0.28 M parameters",
        ),
    ),
    trainable=_spectral.trainable,
    config=_config,
    effective=_effective,
    held=_spectral.held,
    limits=_spectral.limits,
    memory_factor=2.0,
)  # fmt: skip
