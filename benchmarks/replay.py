"""Thousands of searches over recorded runs, with a simulated clock: what each way to search loses by its budget.

    python -m benchmarks.replay --seeds 1000 --jobs 2
    python -m benchmarks.replay --variants              # prints when to read and how many to keep, and writes nothing

Regret is the quality of the pool's best run minus that of the run that a search picks. Budgets are counted in mean
full trainings. Advice is that of a surrogate which has seen neither the source nor the data of the pool. Writes
``replay.json``, ``replay.md`` and ``replay*.svg`` into ``benchmarks/results``.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from autopeft import resources
from autopeft.files import plain, to_json, write_text
from autopeft.recommend.evidence import read_runs
from autopeft.tuning.compare import RACED_RATES
from autopeft.tuning.halving import READINGS, REDUCTION, SHORT_READINGS
from benchmarks import _others, _ours
from benchmarks._advice import advised
from benchmarks._arms import Arm, Pool, pools
from benchmarks._intervals import Mean, mean
from benchmarks._replay_page import (
    ADVISED,
    ALONE,
    APART,
    BUDGETS,
    LONG,
    OPTUNA,
    OURS,
    PRUNED_ON,
    QUARTERS,
    RACE,
    SHORT,
    UNGUIDED,
    Line,
    drawing,
    signal_table,
    table,
    together,
)
from benchmarks._samplers import AllocatedSampler, RandomSampler, Sampler, TpeSampler, grouped_tpe, plain_tpe, starts
from benchmarks._signals import signal_quality

MODELLED = "TPE"
"""What the names of searches hold that fit a model before each proposal: a hundred times slower to simulate."""

Search = Callable[[Pool, str, Sequence[float], int], list[Arm | None]]
"""Receives a pool, a signal, budgets in seconds and a seed; returns the pick at each budget."""


def promoted(
    pool: Pool, signal: str, budgets: Sequence[float], seed: int, *,
    tpe: bool = False, advice: bool = False, guided: bool = False, apart: bool = False,
    readings: tuple[float, ...] = READINGS, reduction: int = REDUCTION,
) -> list[Arm | None]:  # fmt: skip
    """Returns the picks of the search's own loop, which is run anew for each budget: it plans its last seconds."""
    first = starts(pool, _ours.STARTS) if advice else ()

    def sampler() -> Sampler:
        if apart:
            return AllocatedSampler(pool, seed, first)
        if not tpe:
            return RandomSampler(pool, seed, first)
        return TpeSampler(pool, seed, grouped_tpe, first=first, guided=guided)

    return [
        _ours.play(pool, sampler(), budget, signal=signal, seed=seed, readings=readings, reduction=reduction)
        for budget in budgets
    ]


def stopped(
    pool: Pool, signal: str, budgets: Sequence[float], seed: int, *,
    rule: Callable[[], _others.Rule], tpe: bool = False, shares: Sequence[float] = READINGS,
) -> list[Arm | None]:  # fmt: skip
    """Returns the picks of a search whose stopped runs never go on."""
    sampler = TpeSampler(pool, seed, plain_tpe) if tpe else RandomSampler(pool, seed)
    trace = _others.play(pool, sampler, rule(), max(budgets), shares=shares, signal=signal, seed=seed)
    return [trace.at(budget) for budget in budgets]


def hyperband(pool: Pool, signal: str, budgets: Sequence[float], seed: int) -> list[Arm | None]:
    """Returns the picks of plain Optuna."""
    trace = _others.optuna_hyperband(pool, max(budgets), signal=signal, seed=seed)
    return [trace.at(budget) for budget in budgets]


def raced(pool: Pool, signal: str, budgets: Sequence[float], seed: int) -> list[Arm | None]:
    """Returns the picks of a race of plain LoRA's four rates, which pools of our own begin with."""
    trace = _others.race(pool, RACED_RATES, signal=signal, seed=seed)
    return [trace.at(budget) for budget in budgets]


SEARCHES: dict[str, Search] = {
    SHORT: partial(promoted, tpe=True, advice=True, guided=True, readings=SHORT_READINGS),
    LONG: partial(promoted, tpe=True, advice=True, guided=True),
    UNGUIDED: partial(promoted, tpe=True, advice=True),
    APART: partial(promoted, apart=True, advice=True),
    ALONE: partial(promoted, tpe=True),
    OURS: promoted,
    "stopping ASHA, random": partial(stopped, rule=_others.best_third),
    "median rule, random": partial(stopped, rule=_others.median),
    "no pruning, random": partial(stopped, rule=_others.never, shares=(1.0,)),
    "no pruning, TPE": partial(stopped, rule=_others.never, tpe=True, shares=(1.0,)),
    OPTUNA: hyperband,
    RACE: raced,
}

_VARIED: dict[str, tuple[tuple[float, ...], int]] = {
    "0.12, 0.25, 0.5, 1": (READINGS, 3),
    "0.12, 0.25, 0.5, 1, best half": (READINGS, 2),
    "0.25, 0.5, 1": (READINGS[1:], 3),
    "0.25, 0.5, 1, best half": (READINGS[1:], 2),
    "0.1, 0.3, 1": ((0.1, 0.3, 1.0), 3),
    "0.33, 1": ((0.33, 1.0), 3),
    "0.5, 1": (SHORT_READINGS, 3),
    "0.5, 1, best half": (SHORT_READINGS, 2),
    "1": ((1.0,), 3),
}

VARIANTS: dict[str, Search] = {
    f"{how} at {name}": partial(promoted, readings=shares, reduction=reduction, **asked)
    for how, asked in (
        ("random, read", {}),
        ("guided TPE, read", {"tpe": True, "advice": True, "guided": True}),
        ("a TPE study per method, read", {"apart": True, "advice": True}),
    )
    for name, (shares, reduction) in _VARIED.items()
}
"""When to read and how many to keep: draws by chance alone, advised starts with guided draws, as the search has, and
advised starts with a study per method."""


def regrets(
    pool: Pool, signal: str, search: Search, budgets: Sequence[float], seeds: Sequence[int]
) -> list[list[float]]:
    """Returns the regret at each budget for each seed; without any pick it is the mean run's."""
    middle = sum(arm.value for arm in pool.arms) / len(pool.arms)
    seconds = [budget * pool.mean_seconds for budget in budgets]
    found = (search(pool, signal, seconds, seed) for seed in seeds)
    return [[pool.best - (arm.value if arm else middle) for arm in picks] for picks in found]


def _measured(
    pool: Pool, signal: str, searches: dict[str, Search], seeds: tuple[int, int], jobs: int
) -> dict[str, list[list[float]]]:
    """Returns the regrets by search, seed and budget; ``seeds`` counts those without and with a model."""
    found: dict[str, list[list[float]]] = {}
    with ProcessPoolExecutor(jobs) as workers:
        for name, search in searches.items():
            began, count = time.monotonic(), seeds[MODELLED in name]
            parts = [range(start, count, jobs * 4) for start in range(jobs * 4)]
            asked = partial(regrets, pool, signal, search, BUDGETS)
            found[name] = [row for part in workers.map(asked, parts) for row in part]
            print(f"{pool.name}, {signal}: {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found


def lines(pool: Pool, signal: str, measured: dict[str, list[list[float]]]) -> list[Line]:
    """Returns the mean regret of every search at every budget."""
    return [
        Line(pool=pool.name, signal=signal, search=name, budget=budget, regret=mean([row[index] for row in rows]))
        for name, rows in measured.items()
        for index, budget in enumerate(BUDGETS)
    ]


def quarters(measured: dict[str, list[list[float]]], search: str) -> dict[str, Mean]:
    """Returns a search's regret minus plain Optuna's at four times the seconds: below zero, a quarter is enough."""
    found = {}
    for ours, theirs in QUARTERS:
        own = [row[BUDGETS.index(ours)] for row in measured[search]]
        other = [row[BUDGETS.index(theirs)] for row in measured[OPTUNA]]
        found[f"{ours:g} against {theirs:g}"] = mean([a - b for a, b in zip(own, other, strict=True)])
    return found


def main() -> None:
    """Replays every pool and writes the results, anew after each signal."""
    given = _arguments()
    evidence = given.evidence or sorted((resources.profiles() / "evidence").glob("*.jsonl"))
    runs = [run for path in evidence for run in read_runs(path)]
    shown = [advised(pool, runs) for pool in pools(evidence, given.study)]
    if not shown:
        sys.exit("None of the files and folders holds a dozen complete runs of one setting with their curves.")
    if given.variants:
        compare_variants(shown, given)
        return
    text, document = [f"# Replay over recorded runs\n\n`{_command()}`\n"], []
    for number, pool in enumerate(shown):
        text.append(f"## {pool.name}: {len(pool.arms)} runs\n\n{signal_table(list(signal_quality(pool)))}\n")
        for signal in pool.signals:
            picture = f"replay-{number}-{signal}.svg"
            section, measured = _replayed(pool, signal, given, picture)
            text.append(section)
            document += measured
            write_text(given.output / "replay.md", "\n".join(text))
            write_text(given.output / "replay.json", to_json(plain(document)) + "\n")
    write_text(given.output / "replay.md", "\n".join([*text, together(document)]))


def compare_variants(shown: Sequence[Pool], given: argparse.Namespace) -> None:
    """Prints what other readings and reductions come to, in the pools that have the loss that a search prunes on."""
    for pool in shown:
        if PRUNED_ON in pool.signals:
            found = _measured(pool, PRUNED_ON, VARIANTS, (given.seeds, given.tpe_seeds), given.jobs)
            print(f"{pool.name}:\n\n{table(lines(pool, PRUNED_ON, found))}\n", flush=True)


def _replayed(pool: Pool, signal: str, given: argparse.Namespace, picture: str) -> tuple[str, list[Line]]:
    """Returns the section on one signal and its figures, and draws the chart."""
    seeds = (given.seeds, given.tpe_seeds)
    possible = {name: way for name, way in SEARCHES.items() if name != RACE or _others.has_race(pool, RACED_RATES)}
    measured = _measured(pool, signal, possible, seeds, given.jobs)
    drawn = lines(pool, signal, measured)
    ahead = "\n".join(
        f"- {search}, {name}: {100 * m.value:+.2f} points ({100 * m.low:+.2f} to {100 * m.high:+.2f})"
        for search in ADVISED
        for name, m in quarters(measured, search).items()
    )
    write_text(given.output / picture, drawing(drawn))
    return (
        f"### Pruned on {signal}\n\nRegret in points by budget in full trainings, {given.seeds} searches each, "
        f"{given.tpe_seeds} with TPE; 95 % bootstrap intervals.\n\n{table(drawn)}\n\n"
        f"![regret against budget]({picture})\n\n"
        f"Regret minus that of {OPTUNA} at four times the seconds:\n\n{ahead}\n\n"
    ), drawn


def _command() -> str:
    return " ".join(["python -m benchmarks.replay", *sys.argv[1:]])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evidence", nargs="*", type=Path, help="files of measured runs; by default the project's own")
    parser.add_argument("--study", action="append", default=[], type=Path, help="a search's folder; repeatable")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--tpe-seeds", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--variants", action="store_true", help="print readings and reductions alone")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
