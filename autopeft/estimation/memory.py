"""Peak memory: what stands on the device all the time, and what one micro-batch puts on top."""

from autopeft.estimation.activations import Activations
from autopeft.estimation.context import context_bytes
from autopeft.methods import Method, get_method
from autopeft.methods._targets import linear_modules
from autopeft.optimizers import get_optimizer
from autopeft.quantization import get_quantization
from autopeft.values.candidates import MemoryEstimate, Setup
from autopeft.values.names import DTYPE_BYTES
from autopeft.values.profiles import Device

TRAINED_BYTES = 4
"""Trained parameters and their gradients are float32, whatever the base is stored in."""

UNQUANTIZED_BYTES = 4
"""Weights that a quantized base leaves unquantized are held in float32."""

ALLOCATOR_SLACK = {"cpu": 1.0}
"""Reserved over allocated memory; a caching allocator's rounding and fragmentation cost about a tenth."""
DEFAULT_SLACK = 1.1


def memory_estimate(
    setup: Setup, method: Method, adapter: int, activations: Activations, scoring: Activations, device: Device
) -> MemoryEstimate:
    """Returns the peak memory of a training run, of training or of its scoring, whichever takes more.

    Everything is counted as alive at once. Gradients and activations are so from the second micro-batch of an
    accumulated step on; without accumulation the sum is an upper bound.

    Args:
        setup: what is run.
        method: the method of its candidate.
        adapter: parameters the method trains, the head left out.
        activations: of one micro-batch.
        scoring: of a batch that is scored, when gradients are gone.
        device: planned for; its own context counts where it is known.
    """
    trained = trained_parameters(setup, adapter)
    changed = adapter if method.capabilities.trains_base else 0
    training = {
        "weights": weight_bytes(setup) + changed * (TRAINED_BYTES - DTYPE_BYTES[setup.candidate.dtype]),
        "adapter": (adapter - changed) * TRAINED_BYTES + method.held(setup),
        "gradients": trained * TRAINED_BYTES,
        "optimizer_state": int(trained * get_optimizer(setup.candidate.optimizer).state_bytes_per_parameter),
        **_passing(setup, activations),
    }
    scored = {**training, "gradients": 0, **_passing(setup, scoring)}
    breakdown = max(training, scored, key=lambda alive: sum(alive.values()))
    allocated = sum(breakdown.values())
    return MemoryEstimate(
        peak_allocated_bytes=allocated,
        peak_reserved_bytes=int(allocated * ALLOCATOR_SLACK.get(device.kind, DEFAULT_SLACK)),
        context_bytes=context_bytes(device),
        breakdown=breakdown,
    )


def _passing(setup: Setup, activations: Activations) -> dict[str, int]:
    """Returns what is alive for the length of a pass, by kind."""
    return {
        "activations": activations.kept_bytes,
        "logits_and_loss": activations.logits_and_loss_bytes,
        "temporaries": activations.working_bytes + dequantized_bytes(setup),
    }


def trained_parameters(setup: Setup, adapter: int) -> int:
    """Returns how many parameters train: the method's, less those that the optimizer freezes, and the task head's.

    Args:
        setup: what is run.
        adapter: parameters the method trains, the head left out.
    """
    freezes = get_optimizer(setup.candidate.optimizer).freezes_first_factors
    frozen = get_method(setup.candidate.method).first_factors(setup) if freezes else 0
    return adapter - frozen + setup.model.head_parameters


def weight_bytes(setup: Setup) -> int:
    """Returns the bytes of the base weights as stored, shared weights counted once.

    The layers' linear weights take what the scheme says. Beside them, training on a quantized base keeps
    embeddings, norms, biases and heads in float32 (what peft's preparation for it does); without quantization
    they keep the dtype.
    """
    scheme = get_quantization(setup.candidate.quantization)
    if scheme.bytes_per_weight is None:
        return setup.model.parameters * DTYPE_BYTES[setup.candidate.dtype]
    coded = sum(m.in_features * m.out_features for m in linear_modules(setup.model))
    return (setup.model.parameters - coded) * UNQUANTIZED_BYTES + int(coded * scheme.bytes_per_weight)


def dequantized_bytes(setup: Setup) -> int:
    """Returns the size of the largest quantized weight unpacked, as forward and backward pass need it."""
    if get_quantization(setup.candidate.quantization).bytes_per_weight is None:
        return 0
    largest = max((m.in_features * m.out_features for m in linear_modules(setup.model)), default=0)
    return largest * DTYPE_BYTES[setup.candidate.dtype]
