"""What autograd keeps of a forward pass, layer by layer, read off the list of modules.

A frozen linear layer keeps nothing of its input; a layer that trains (or carries an adapter) keeps it. Norms
keep their input, attention its queries, keys, values and output, activation functions their input. Layers below
the first that trains keep nothing, because no gradient reaches them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from autopeft.methods import Method
from autopeft.methods._targets import linear_modules, selected_layers, target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import DTYPE_BYTES, LANGUAGE_TASKS
from autopeft.values.profiles import ModelProfile, ModuleShape

SEQUENCES_PER_ROW = {"multiple-choice": 4}
"""Sequences that one row becomes; four choices are usual (SWAG, Zellers et al., arXiv 1808.05326)."""

FULL_PRECISION = 4
"""Bytes of a float32 number, in which losses and norms compute, under autocast too."""

COMPOSED_ACTIVATION = 4
"""Tensors kept by GPT-2's hyperbolic-tangent GELU, composed of a power, a product and a tanh."""

EAGER_TYPES = frozenset({"t5", "mt5", "umt5"})
"""Model types whose attention adds a learned position bias and keeps the probabilities."""


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Bytes alive at the end of a forward pass, and what is needed beside them.

    Attributes:
        kept_bytes: saved by the layers, gradient checkpointing taken into account; in scoring, keys and values.
        logits_and_loss_bytes: logits, their float32 copy, log-probabilities and, in training, gradients of them.
        working_bytes: of the widest layer while it is differentiated, or computes.
    """

    kept_bytes: int
    logits_and_loss_bytes: int
    working_bytes: int


def activation_bytes(setup: Setup, method: Method, tokens: int, adapter: int) -> Activations:
    """Returns the activation memory of one micro-batch.

    Args:
        setup: what is run.
        method: the method of its candidate.
        tokens: sequence length that the layers see.
        adapter: parameters the method trains, from which the width of its inner activations follows.
    """
    model, candidate = setup.model, setup.candidate
    positions, width = positions_per_pass(setup, tokens), DTYPE_BYTES[candidate.dtype]
    first = first_differentiated_layer(setup, method)
    layers = _by_layer(model)
    base = {
        index: _frozen_layer_bytes(model, modules, positions, tokens, width)
        for index, modules in layers.items()
        if index >= first
    }
    trained = trained_input_bytes(setup, method, positions, adapter)
    kept = sum(base.values()) + trained
    if candidate.gradient_checkpointing:
        one_layer = max(base.values(), default=0) + trained // max(len(base), 1)
        kept = len(layers) * positions * model.hidden_size * width + one_layer
    return Activations(
        kept_bytes=int(kept),
        logits_and_loss_bytes=_logits_bytes(setup, positions, width),
        working_bytes=_working_bytes(model, positions, width),
    )


def scoring_bytes(setup: Setup, tokens: int, rows: int) -> Activations:
    """Returns the activation memory of a batch that is scored: what writes fills a cache of keys and values.

    Args:
        setup: what is run.
        tokens: sequence length that the layers see.
        rows: scored at once.
    """
    model, width = setup.model, DTYPE_BYTES[setup.candidate.dtype]
    scored = replace(setup, candidate=replace(setup.candidate, batch_size=rows))
    positions = positions_per_pass(scored, tokens)
    cached = 0 if model.kind == "encoder" else 2 * model.layers * model.key_value_heads * model.head_size
    logits = 0
    if setup.task in LANGUAGE_TASKS:
        # Those of all rows are there at once; one row after the other is turned to float32 for its loss.
        logits = model.vocabulary_size * (positions * width + 2 * tokens * FULL_PRECISION)
    return Activations(
        kept_bytes=positions * cached * width,
        logits_and_loss_bytes=logits,
        working_bytes=_working_bytes(model, positions, width),
    )


def _working_bytes(model: ModelProfile, positions: int, width: int) -> int:
    """Returns two tensors as wide as the widest layer: its input and output, or their gradients."""
    return 2 * positions * max(model.hidden_size, model.feed_forward_size) * width


def positions_per_pass(setup: Setup, tokens: int) -> int:
    """Returns the positions of one micro-batch, every choice of a row counted."""
    return setup.candidate.batch_size * SEQUENCES_PER_ROW.get(setup.task, 1) * tokens


def first_differentiated_layer(setup: Setup, method: Method) -> int:
    """Returns the lowest layer that a gradient has to reach: all of them unless the method selects layers."""
    if not method.capabilities.takes_layers:
        return 0
    layers = selected_layers(setup.model, setup.candidate)
    if method.capabilities.takes_targets:
        layers = tuple(m.layer for m in target_modules(setup) if m.layer is not None)
    return min(layers, default=0)


def trained_input_bytes(setup: Setup, method: Method, positions: int, adapter: int) -> int:
    """Returns what is kept besides because weights train: inputs, and an adapter's own inner activations.

    A method keeps its declared share of what plain low-rank adapters keep on the same modules.
    """
    width = DTYPE_BYTES[setup.candidate.dtype]
    targets = target_modules(setup) if method.capabilities.takes_targets else linear_modules(setup.model)
    if method.family == "full":
        # A norm without bias whose weight trains keeps its normalized input too.
        norms = sum(m.out_features for m in setup.model.modules if m.kind == "norm" and not m.bias)
        return positions * (width * _input_width(targets, shared=True) + FULL_PRECISION * norms)
    if method.family == "scaling":
        # A factor on an output keeps the output as it was before it.
        return positions * width * sum(m.out_features for m in targets)
    # Adapters are float32: under autocast each of them keeps a cast copy of its input of its own.
    inputs = _input_width(targets, shared=setup.candidate.dtype == "float32")
    inner = _inner_width(setup, method, targets, adapter)
    return int(positions * width * (inputs * method.memory_factor + inner))


def _inner_width(setup: Setup, method: Method, targets: Sequence[ModuleShape], adapter: int) -> int:
    """Returns the summed width of what lies between an adapter's two factors.

    It is the rank, or what the trained parameters imply where that is more; frozen factors count as well.
    """
    if method.family == "low-rank":
        sides = sum(m.in_features + m.out_features for m in targets)
        implied = adapter // sides if sides else 0
        return len(targets) * max(implied, int(setup.candidate.parameters.get("rank", 0)))
    return adapter // setup.model.hidden_size if method.family == "adapter" else 0


def _by_layer(model: ModelProfile) -> dict[int, list[ModuleShape]]:
    layers: dict[int, list[ModuleShape]] = {}
    for module in model.modules:
        if module.layer is not None:
            layers.setdefault(module.layer, []).append(module)
    return layers


def _frozen_layer_bytes(
    model: ModelProfile, modules: list[ModuleShape], positions: int, tokens: int, width: int
) -> int:
    return positions * (
        _norm_bytes(model, modules)
        + _attention_bytes(model, modules, tokens, width)
        + _activation_function_bytes(modules, width)
    )


def _norm_bytes(model: ModelProfile, modules: list[ModuleShape]) -> int:
    """Per position: a norm keeps its input in float32; one over heads keeps every head's."""
    kept = 0
    for norm in (m for m in modules if m.kind == "norm"):
        features = norm.out_features
        if features == model.head_size:
            features *= model.attention_heads
        kept += features * FULL_PRECISION
    return kept


def _attention_bytes(model: ModelProfile, modules: list[ModuleShape], tokens: int, width: int) -> int:
    """Per position: queries, keys and values after sharing among heads, output, mask, and one float32 per head.

    Models with a learned position bias keep the probabilities of every pair of positions instead of the output.
    """
    queries = sum(m.out_features for m in modules if m.role == "query")
    queries += sum(model.attention_heads * model.head_size for m in modules if m.role == "qkv")
    blocks = queries // max(model.attention_heads * model.head_size, 1)
    if model.model_type in EAGER_TYPES:
        return 3 * queries * width + blocks * model.attention_heads * tokens * FULL_PRECISION
    return 4 * queries * width + blocks * (tokens * width + model.attention_heads * FULL_PRECISION)


def _activation_function_bytes(modules: list[ModuleShape], width: int) -> int:
    """Per position: the activation's input; a gate keeps its input, its output and the other factor."""
    gated = any(m.role in ("gate", "gate_up") for m in modules)
    if gated:
        return 3 * width * sum(m.in_features for m in modules if m.role == "down")
    composed = COMPOSED_ACTIVATION if any(m.kind == "conv1d" for m in modules) else 1
    return composed * width * sum(m.out_features for m in modules if m.role == "up")


def _input_width(modules: Iterable[ModuleShape], *, shared: bool) -> int:
    """Returns the summed width of the inputs that trained modules keep; shared inputs count once.

    The attention output is already kept by the attention itself, so its projection adds nothing then.
    """
    if not shared:
        return sum(m.in_features for m in modules)
    inputs: dict[tuple[str, str], int] = {}
    for module in modules:
        parent, _, own = module.name.rpartition(".")
        if module.role == "output":
            continue
        common = module.role in ("query", "key", "value", "up", "gate")
        inputs[parent, "input" if common else own] = module.in_features
    return sum(inputs.values())


def _logits_bytes(setup: Setup, positions: int, width: int) -> int:
    if setup.task not in LANGUAGE_TASKS:
        return 0
    # Logits in the model's dtype stay with the outputs; log-probabilities and two gradients are float32.
    return positions * setup.model.vocabulary_size * (width + 3 * FULL_PRECISION)
