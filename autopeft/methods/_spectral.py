"""What the methods share that learn a few coefficients of each weight's update in another basis."""

from typing import TYPE_CHECKING

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEGAL: dict[str, "BaseDistribution"] = {
    "frequencies": IntDistribution(1, 1_000_000, log=True),
    "scaling": FloatDistribution(0.1, 10_000.0, log=True),
}


def trainable(setup: Setup) -> int:
    """Returns the coefficients: as many for each targeted weight, whatever its size."""
    return _injected.number(setup, "frequencies") * len(target_modules(setup))


def held(setup: Setup) -> int:
    """Returns the bytes of the coefficients' rows and columns, whole numbers of eight bytes."""
    return 16 * trainable(setup)


def limits(setup: Setup) -> tuple[str, ...]:
    """Returns why there are more coefficients than a targeted weight has entries."""
    wanted = _injected.number(setup, "frequencies")

    def too_many(module: ModuleShape) -> str:
        entries = module.in_features * module.out_features
        return f"`frequencies` is {wanted}, above the {entries} entries of {module.name}." if wanted > entries else ""

    return _injected.first(setup, too_many)
