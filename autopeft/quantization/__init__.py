"""The catalogue of quantization schemes: one file each, found by walking this package.

All of them are bitsandbytes': it quantizes any checkpoint while loading it, without calibration data, trains through
the codes, and runs on a CPU, so that every scheme is under test here. What else there is, and why it is left out:

- torchao's int8 and int4 weights: transformers loads them and peft 0.21 has LoRA layers for them, but for LoRA alone,
  and a second library beside torch whose version has to fit torch's. Worth a file once its kernels are what a card
  needs; it would be one that gives transformers' ``TorchAoConfig``.
- HQQ: without calibration too, in 1 to 8 bits; peft's layers are again for LoRA alone, and its library is not among
  the dependencies. Worth a file for fewer than 4 bits, which bitsandbytes lacks.
- GPTQ, AWQ, AQLM and EETQ: models that somebody has quantized before, on data and mostly for CUDA. They are a choice
  of the model, not of how to store it: such a checkpoint cannot be had at another precision, so there is nothing to
  choose between, and the methods that repair codes (LoftQ and its kin) lack the weights to compare with.
"""

from functools import cache

from autopeft.discovery import discover
from autopeft.errors import named
from autopeft.quantization._bitsandbytes import BLOCK, NESTED_BLOCK, stop_repacking
from autopeft.quantization._declaration import Quantization

__all__ = ["BLOCK", "NESTED_BLOCK", "Quantization", "all_quantizations", "get_quantization", "stop_repacking"]


@cache
def all_quantizations() -> dict[str, Quantization]:
    """Returns every scheme by name, sorted."""
    import autopeft.quantization as package

    return discover(package, "QUANTIZATION", Quantization)


def get_quantization(name: str) -> Quantization:
    """Returns one scheme.

    Raises:
        InvalidValueError: no scheme has this name.
    """
    return named(all_quantizations(), name, "quantization", "a candidate")
