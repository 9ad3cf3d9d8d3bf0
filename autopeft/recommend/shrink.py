"""Makes a candidate train fewer parameters, for users who set a limit."""

from dataclasses import replace
from typing import TYPE_CHECKING

from autopeft.estimation.memory import trained_parameters
from autopeft.methods import Method
from autopeft.recommend.setting import Setting, plan_setup
from autopeft.values.candidates import Candidate
from autopeft.values.names import ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def trained(method: Method, candidate: Candidate, setting: Setting) -> int:
    """Returns the parameters a candidate trains, the task head included."""
    setup = plan_setup(setting, candidate)
    return trained_parameters(setup, method.trainable(setup))


def shrunk(method: Method, candidate: Candidate, setting: Setting) -> Candidate:
    """Returns the candidate with its whole-number parameters lowered until it trains no more than is allowed.

    Each step lowers the parameter that saves most, by half or to its next smaller choice, inside the legal
    domain and without a violation. Where that ends first, the smallest candidate found is returned and still
    trains too much.
    """
    limit = setting.constraints.max_trainable
    while limit is not None and trained(method, candidate, setting) > limit:
        smaller = min(
            _lowered(method, candidate, setting),
            key=lambda option: trained(method, option, setting),
            default=candidate,
        )
        if trained(method, smaller, setting) >= trained(method, candidate, setting):
            break
        candidate = smaller
    return candidate


def _lowered(method: Method, candidate: Candidate, setting: Setting) -> list[Candidate]:
    options = []
    for name, value in candidate.parameters.items():
        lower = _next_lower(method.legal.get(name), value)
        if lower is None:
            continue
        option = replace(candidate, parameters={**candidate.parameters, name: lower})
        if not method.violations(plan_setup(setting, option)):
            options.append(option)
    return options


def _next_lower(domain: "BaseDistribution | None", value: ParameterValue) -> int | None:
    """Returns the next smaller legal whole number, None where there is none."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(value, bool) or not isinstance(value, int):
        return None
    if isinstance(domain, CategoricalDistribution):
        below = [c for c in domain.choices if isinstance(c, int) and not isinstance(c, bool) and c < value]
        return max(below, default=None)
    if not isinstance(domain, IntDistribution) or value <= domain.low:
        return None
    half = max(domain.low, value // 2)
    return half - (half - domain.low) % domain.step
