"""Whether so many devices can train together here."""

import sys
from collections.abc import Collection

from autopeft.errors import invalid, unknown
from autopeft.tuning.spread import Spread
from autopeft.values.candidates import Team
from autopeft.values.names import STRATEGIES, Criterion
from autopeft.values.profiles import HardwareProfile

OWNER = "a search"
ONE_PROCESS: tuple[Criterion, ...] = ("forgetting", "latency")
"""What is measured on a whole model in one process."""


def check_team(team: Team, hardware: HardwareProfile, objectives: Collection[Criterion]) -> None:
    """Refuses a team that this machine has not, or that cannot measure what was asked for.

    Raises:
        InvalidValueError: the first thing that is wrong with it.
    """
    if team.strategy not in STRATEGIES:
        raise unknown("--strategy", OWNER, team.strategy, STRATEGIES)
    if team.alone:
        if team.devices != 1:
            advice = "Add --strategy ddp or --strategy fsdp."
            raise invalid("--devices", "a search without a strategy", "1", team.devices, advice)
        return
    if team.devices < 2:
        raise invalid("--devices", f"a search with --strategy {team.strategy}", "at least 2", team.devices)
    if sys.platform == "win32":
        raise invalid("--strategy", "a search on Windows", "none", team.strategy)
    kind, there = hardware.device.kind, len(hardware.devices)
    if kind not in ("cuda", "rocm", "cpu"):
        raise invalid("--strategy", f"a search on {hardware.device.name}", "none", team.strategy)
    if hardware.device.exclusive:
        advice = "CUDA gives a process one slice or card there. Name whole cards with --gpus."
        raise invalid("--strategy", "a search on a machine split by MIG", "none", team.strategy, advice)
    if kind != "cpu" and team.devices > there:
        raise invalid("--devices", OWNER, f"at most {there}, the GPUs that this machine has", team.devices)
    if measured := sorted(set(objectives) & set(ONE_PROCESS)):
        advice = f"{' and '.join(measured)} can be measured on a whole model in one process alone."
        raise invalid("--objective", f"a search with --strategy {team.strategy}", "quality, memory or time",
                      ",".join(objectives), advice)  # fmt: skip


def check_spread(team: Team, spread: Spread) -> None:
    """Refuses to spread trials whose devices train together over several processes or a cluster.

    Raises:
        InvalidValueError: that was asked for.
    """
    if team.alone:
        return
    owner = f"a search with --strategy {team.strategy}"
    if spread.ray is not None:
        raise invalid("--ray", owner, "left out", spread.ray, "Join machines with --storage instead.")
    if spread.workers is not None:
        advice = "Its devices train one trial together; join machines with --storage."
        raise invalid("--workers", owner, "left out", spread.workers, advice)
    if spread.gpus and len(spread.gpus) != team.devices:
        raise invalid("--gpus", owner, f"the names of its {team.devices} devices", ",".join(spread.gpus))
