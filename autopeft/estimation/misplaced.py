"""What to say of a name that stands in the catalogue, but where it stands is none of a method."""

from autopeft.methods._omitted import OMITTED
from autopeft.optimizers import all_optimizers
from autopeft.quantization import all_quantizations


def advice_on(name: str) -> str:
    """Returns what to do with a name of the catalogue that was given for a method's; empty for any other name."""
    if name in OMITTED:
        return f"{name} is left out: {OMITTED[name]}"
    if name in all_optimizers():
        return f"{name} is an optimizer: name it with --optimizer in an estimate, under `optimizer` in a search space."
    if name in all_quantizations():
        return f"{name} is a quantization: name it with --quantization, under `quantization` in a search space."
    return ""
