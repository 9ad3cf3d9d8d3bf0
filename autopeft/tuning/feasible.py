"""What a candidate needs, and why it cannot run here: said before anything is loaded."""

from autopeft.estimation import draft, estimate
from autopeft.estimation.strategy import on_team
from autopeft.methods import get_method
from autopeft.profiling.sizes import format_bytes
from autopeft.recommend.confirm import near
from autopeft.recommend.dividing import undivided
from autopeft.values.candidates import ONE_DEVICE, Estimate, Setup, Team
from autopeft.values.names import EstimateSource
from autopeft.values.profiles import HardwareProfile


def obstacles(
    setup: Setup,
    tokens_per_row: int,
    hardware: HardwareProfile,
    memory_bytes: int,
    max_trainable: int | None,
    team: Team = ONE_DEVICE,
) -> list[str]:
    """Returns why a candidate cannot run: what its method refuses, and what it needs beyond the limits."""
    problems = [
        *undivided(setup.candidate, setup.model.kind, team),
        *get_method(setup.candidate.method).violations(setup),
    ]
    if problems:
        return problems
    cost, _ = weighed(setup, tokens_per_row, hardware, memory_bytes, team)
    needed = cost.memory.total_bytes
    if needed > memory_bytes:
        problems.append(f"It is estimated to need {format_bytes(needed)}; there are {format_bytes(memory_bytes)}.")
    if max_trainable is not None and cost.trainable_parameters > max_trainable:
        problems.append(f"It trains {cost.trainable_parameters:,} parameters; the limit is {max_trainable:,}.")
    return problems


def weighed(
    setup: Setup, tokens_per_row: int, hardware: HardwareProfile, memory_bytes: int, team: Team
) -> tuple[Estimate, EstimateSource]:
    """Returns the estimate by formula where it is far from the limit, and by trace where that decides."""
    drafted = draft(setup, tokens_per_row=tokens_per_row, hardware=hardware)
    cost = on_team(drafted, setup, team, hardware.device)
    if not near(cost, memory_bytes):
        return cost, "formula"
    traced = estimate(setup, tokens_per_row=tokens_per_row, hardware=hardware)
    return on_team(traced, setup, team, hardware.device), "trace"
