"""Which modules and layers a setup selects, read from the model's profile."""

from autopeft.errors import close_match
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.names import Role
from autopeft.values.profiles import ModelProfile, ModuleShape

ROLES: dict[str, frozenset[Role]] = {
    "attention": frozenset({"query", "key", "value", "qkv", "output"}),
    "qv": frozenset({"query", "value", "qkv"}),
    "mlp": frozenset({"up", "gate", "gate_up", "down"}),
}
GROUPS = (*ROLES, "all-linear")


def linear_modules(model: ModelProfile) -> tuple[ModuleShape, ...]:
    """Returns the linear modules of the transformer layers, task head and output embedding left out."""
    return model.layer_linears


def selected_layers(model: ModelProfile, candidate: Candidate) -> tuple[int, ...]:
    """Returns the indices of the layers that the candidate's ``layers`` names, ascending.

    ``last:K`` counts from the output; ``every:N`` takes the last layer and every N-th before it;
    ``gradient:K`` takes ``layer_indices``, or the last K while those are not known yet: the count holds,
    and estimates of memory take the costliest K instead.
    """
    every = tuple(range(model.layers))
    kind, _, number = candidate.layers.partition(":")
    if kind == "all":
        return every
    count = int(number)
    if kind == "every":
        return tuple(reversed(every[::-1][::count]))
    if kind == "gradient" and candidate.layer_indices is not None:
        return candidate.layer_indices
    return every[-count:]


def target_modules(setup: Setup) -> tuple[ModuleShape, ...]:
    """Returns the modules that ``targets`` and ``layers`` select, in the model's order."""
    within, targets = linear_modules(setup.model), setup.candidate.targets
    if setup.candidate.layers != "all":
        layers = set(selected_layers(setup.model, setup.candidate))
        within = tuple(m for m in within if m.layer in layers)
    if targets == "all-linear":
        return within
    if targets in ROLES:
        return tuple(m for m in within if m.role in ROLES[targets])
    names = [name.strip() for name in targets.split(",")]
    return tuple(m for m in within if any(_matches(m.name, name) for name in names))


def _matches(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def layer_violations(setup: Setup) -> tuple[str, ...]:
    """Returns why ``layers`` cannot be met by this model."""
    layers, depth = setup.candidate.layers, setup.model.layers
    kind, _, number = layers.partition(":")
    if kind == "all" and not number:
        return ()
    if kind not in ("last", "every", "gradient") or not number.isdecimal() or int(number) < 1:
        return (f"`layers` must be all, last:K, every:N or gradient:K with K, N ≥ 1; got {layers!r}.",)
    if kind == "gradient" and setup.candidate.quantization != "none":
        return (f"`layers` {layers!r} needs gradients of the base weights, which a quantized base does not give.",)
    if int(number) > depth:
        return (f"`layers` is {layers!r}, but the model has {depth} layers.",)
    return ()


def target_violations(setup: Setup) -> tuple[str, ...]:
    """Returns why ``targets`` and ``layers`` select nothing in this model; empty where they select something."""
    wrong = layer_violations(setup)
    if wrong:
        return wrong
    targets = setup.candidate.targets
    if targets not in GROUPS:
        modules = linear_modules(setup.model)
        known = {part for m in modules for part in (m.name, m.name.split(".")[-1])}
        for name in (part.strip() for part in targets.split(",")):
            if not any(_matches(m.name, name) for m in modules):
                hint = close_match(name, sorted(known | set(GROUPS)))
                return (f"`targets` names {name!r}, which is no linear module of the model. {hint}".rstrip(),)
    if not target_modules(setup):
        return (f"`targets` {targets!r} with `layers` {setup.candidate.layers!r} select no module.",)
    return ()
