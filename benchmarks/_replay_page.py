"""What a replay has found, as tables and charts."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks._intervals import Mean
from benchmarks._plot import Point, chart
from benchmarks._signals import SignalQuality

BUDGETS = (1.0, 2.0, 4.0, 8.0, 16.0)
QUARTERS = ((1.0, 4.0), (2.0, 8.0), (4.0, 16.0))

OURS = "promotions, random"
SHORT, LONG = "autopeft, read at half, guided TPE", "autopeft, from 0.12 on, guided TPE"
UNGUIDED, ALONE = "advised starts, from 0.12 on, TPE", "no advice, from 0.12 on, TPE"
APART = "advised starts, from 0.12 on, a TPE study per method, methods raced"
ADVISED = (SHORT, LONG, UNGUIDED, APART, ALONE)
_FLOOR = 0.05
"""Points of regret below which a chart does not tell them apart: a logarithmic axis has no zero."""

PRUNED_ON = "validation_loss"
TRAINED = "train_loss"
OPTUNA = "Optuna: TPE + Hyperband"
RACE = "plain LoRA, four rates raced"


@dataclass(frozen=True, kw_only=True)
class Line:
    """The regret of one way to search at one budget, over all seeds."""

    pool: str
    signal: str
    search: str
    budget: float
    regret: Mean


def together(document: Sequence[Line]) -> str:
    """Returns what each way loses more than plain Optuna, in the mean over the pools, pruned on what is held out.

    Nothing where no pool has such readings.
    """
    found = {(each.pool, each.search, each.budget): each.regret.value for each in document if each.signal != TRAINED}
    places = sorted({pool for pool, _, _ in found})
    if not places:
        return ""

    def cell(search: str, ours: float, theirs: float) -> str:
        more = [100 * (found[pool, search, ours] - found[pool, OPTUNA, theirs]) for pool in places]
        return f"{sum(more) / len(more):+.2f} (below zero in {sum(one < 0 for one in more)})"

    text = ["## All pools", ""]
    for when, pairs in (("four times the", QUARTERS), ("equal", [(budget, budget) for budget in BUDGETS])):
        head = ["search", *(f"{ours:g} against {theirs:g}" for ours, theirs in pairs)]
        text += [
            f"Regret minus that of {OPTUNA} at {when} seconds, in points, as the mean over {len(places)} pools, "
            "pruned on what is held out:",
            "",
            f"| {' | '.join(head)} |",
            "|---" * len(head) + "|",
            *(f"| {search} | {' | '.join(cell(search, *pair) for pair in pairs)} |" for search in ADVISED),
            "",
        ]
    return "\n".join(text)


def drawing(shown: Sequence[Line]) -> str:
    """Returns the chart of regret against budget, in points where the quality is a share."""
    by_search: dict[str, list[Point]] = defaultdict(list)
    for each in shown:
        r = each.regret
        by_search[each.search].append(
            Point(
                x=each.budget,
                value=max(_FLOOR, 100 * r.value),
                low=max(_FLOOR, 100 * r.low),
                high=max(_FLOOR, 100 * r.high),
            )
        )
    return chart(by_search, "budget in full trainings", "regret in points of accuracy, log scale", log_y=True)


def table(shown: Sequence[Line]) -> str:
    """Returns the regrets as a Markdown table, in points with their intervals."""
    by_search: dict[str, list[str]] = defaultdict(list)
    for each in shown:
        r = each.regret
        by_search[each.search].append(f"{100 * r.value:.2f} ({100 * r.low:.2f}–{100 * r.high:.2f})")
    head = "| search | " + " | ".join(f"{budget:g}" for budget in BUDGETS) + " |"
    rule = "|---" * (len(BUDGETS) + 1) + "|"
    return "\n".join([head, rule, *(f"| {name} | {' | '.join(cells)} |" for name, cells in by_search.items())])


def signal_table(found: Sequence[SignalQuality]) -> str:
    """Returns the signals' qualities as a Markdown table."""
    rows = [
        f"| {s.signal} | {s.share:g} | {s.correlation:.3f} ({s.low:.2f}–{s.high:.2f}) | {s.winner_place} "
        f"| {100 * s.regret_of_first:.1f} |"
        for s in found
    ]
    head = "| signal | after | Spearman with the final quality | place of the best run | regret of its first |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])
