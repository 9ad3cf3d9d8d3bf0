"""Why a setup breaks what a method declares: its parameters, its capabilities, its targets."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autopeft.errors import InvalidValueError, close_match
from autopeft.methods._declaration import Capabilities
from autopeft.methods._targets import layer_violations, target_modules, target_violations
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def declared_violations(
    setup: Setup, capabilities: Capabilities, legal: Mapping[str, "BaseDistribution"]
) -> tuple[str, ...]:
    """Returns how a setup breaks what a method declares; a method adds only what is its own."""
    return (
        *parameter_violations(setup.candidate.parameters, legal),
        *_capability_violations(setup, capabilities),
        *_selection_violations(setup, capabilities),
    )


def parameter_violations(
    parameters: Mapping[str, ParameterValue], legal: Mapping[str, "BaseDistribution"]
) -> tuple[str, ...]:
    """Returns a sentence for each parameter that is unknown, missing or outside its legal domain."""
    unknown = [
        f"`{name}` is not a parameter of the method; it has {', '.join(legal) or 'none'}. {close_match(name, legal)}"
        for name in parameters
        if name not in legal
    ]
    missing = [f"`{name}` is missing from the parameters." for name in legal if name not in parameters]
    outside = [
        f"`{name}` must be {expected(legal[name])}; got {value!r}."
        for name, value in parameters.items()
        if name in legal and not contains(legal[name], value)
    ]
    return tuple(sentence.rstrip() for sentence in (*unknown, *missing, *outside))


def contains(domain: "BaseDistribution", value: ParameterValue) -> bool:
    """Whether a value lies in a domain; a whole number is a float too, a truth value is no number."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, CategoricalDistribution):
        return any(value == choice and type(value) is type(choice) for choice in domain.choices)
    if isinstance(value, bool | str):
        return False
    if isinstance(domain, IntDistribution):
        return isinstance(value, int) and domain.low <= value <= domain.high
    return isinstance(domain, FloatDistribution) and domain.low <= value <= domain.high


def expected(domain: "BaseDistribution") -> str:
    """Returns what a domain allows, in words for an error."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, CategoricalDistribution):
        return "one of " + ", ".join(str(choice) for choice in domain.choices)
    if isinstance(domain, IntDistribution):
        return f"a whole number from {domain.low} to {domain.high}"
    if isinstance(domain, FloatDistribution):
        return f"a number from {domain.low:g} to {domain.high:g}"
    raise TypeError(f"{type(domain).__name__} is no domain of a method's parameter.")


def _capability_violations(setup: Setup, capabilities: Capabilities) -> tuple[str, ...]:
    model, candidate = setup.model, setup.candidate
    found = []
    if setup.task not in capabilities.tasks:
        found.append(f"The method cannot train {setup.task}; it can train {', '.join(capabilities.tasks)}.")
    elif setup.task not in model.tasks:
        found.append(f"{model.model_type} has no head for {setup.task}; it has {', '.join(model.tasks) or 'none'}.")
    if model.kind not in capabilities.models:
        found.append(
            f"The method does not apply to {model.kind} models; it applies to {', '.join(capabilities.models)}."
        )
    if candidate.quantization != "none" and not capabilities.quantized_base:
        found.append(
            "The method does not work on a quantized base: `quantization` must be 'none';"
            f" got {candidate.quantization!r}."
        )
    # A quantized base has what is left of it in float32.
    if candidate.quantization == "none" and not capabilities.trains_in(candidate.dtype):
        found.append(
            "The method trains the base's own weights, which no gradient scaler takes in float16: `dtype` must be"
            f" float32 or bfloat16; got {candidate.dtype!r}."
        )
    if candidate.gradient_checkpointing and not capabilities.gradient_checkpointing:
        found.append("The method does not work with gradient checkpointing.")
    return tuple(found)


def _selection_violations(setup: Setup, capabilities: Capabilities) -> tuple[str, ...]:
    candidate = setup.candidate
    if capabilities.takes_targets:
        return target_violations(setup)
    found = []
    if candidate.targets != "none":
        found.append(f"The method takes no targets: `targets` must be 'none'; got {candidate.targets!r}.")
    if capabilities.takes_layers:
        return (*found, *layer_violations(setup))
    if candidate.layers != "all":
        found.append(f"The method takes no layers: `layers` must be 'all'; got {candidate.layers!r}.")
    return tuple(found)


def rank_violations(setup: Setup, rank: ParameterValue, key: str = "rank") -> tuple[str, ...]:
    """Returns why a rank is too large: above the smaller dimension of a targeted module, the first one named."""
    if not isinstance(rank, int) or target_violations(setup):
        return ()
    for module in target_modules(setup):
        smaller = min(module.in_features, module.out_features)
        if rank > smaller:
            return (f"`{key}` is {rank}, above the smaller dimension {smaller} of {module.name}.",)
    return ()


def refuse(setup: Setup, violations: Callable[[Setup], tuple[str, ...]]) -> None:
    """Refuses a setup that cannot work, before the model is touched.

    Raises:
        InvalidValueError: with every violation, one a line, and where to read what is allowed.
    """
    found, name = violations(setup), setup.candidate.method
    if found:
        advice = f"`autopeft methods {name}` shows what it takes."
        raise InvalidValueError("\n".join([f"{name} cannot apply:", *(f"  {line}" for line in found), advice]))
