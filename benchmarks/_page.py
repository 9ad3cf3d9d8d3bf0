"""The page that says what the recommender's advice is worth."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from autopeft.recommend.surrogate import LEVELS
from autopeft.values.predictions import Unit
from benchmarks import _rates
from benchmarks._evaluate import (
    SCHEMES,
    Array,
    Choice,
    covered,
    held_out,
    interval,
    missed,
    places_by,
    settings,
    unavoidable,
)
from benchmarks._gains import Row
from benchmarks._kinds import kept
from benchmarks._policies import choices
from benchmarks._rules import score

EXPLANATION = """\
A gain is the difference to plain LoRA in the same setting: points of a hundred where the metric is a share, per cent of
the loss where it is a loss; beyond 40 either way it counts as 40. Plain LoRA is the default recipe in the designed runs
(`collect.py`), whatever its authors took in published tables, and in six settings of our own the best of three or four
rates: there "always default LoRA" loses less than the default recipe would, and gains are smaller than over that.
Regret is what the best run of the setting gained more than the one that was followed. A suggestion has found the best
where it is within 0.8 of it. Means over settings; in brackets 95 % of bootstrap draws of whole models and of whole
training data, both at once (A. Owen 2007): what shares either is no second piece of evidence. Choices are among the
runs that were measured in a setting, not among all that could be tried, and what a policy ties counts as the mean over
the orders that its ties leave. A checkpoint is one model under all its names and however many of its layers were left,
and our own scripts, which ran on one machine, are one source. No policy takes the evidence's best method where methods
are left out: of the one that is, nothing is known.

The surrogate was fitted without what is left out, its effects and its intervals alike. Not so what it starts from: that
low rates starve, how far methods, families and settings are believed to differ (`benchmarks/_mixed.py`), and how much a
predicted gain counts beside a rule (`autopeft/recommend/expect.py`) were set with all runs at hand, with an eye on
these tables, so the regrets here are smaller than on settings to come, nobody knows by how much. The rules are asked
where the model's shape is known, and were written with some of the tables at hand: they are not held out. What of a
configuration a table does not say is taken to be as its method is first tried. `suggest` adds the surrogate's weight to
theirs. Loss settings are short runs on one CPU: they say what learns fast, not what ends best. Some tables are by
authors of a method in them. Errors and intervals leave the reference out, which gains nothing by definition. Intervals
are made to hold where every setting counts alike, since whoever asks comes with one of their own; counted besides are
pairs of model and training data, and runs, a fifth of which are of two grids."""
COUNTED: Mapping[str, Callable[[Row], str]] = {
    "settings": lambda row: row.run.setting,
    "pairs": lambda row: row.cluster,
    "runs": lambda row: row.run.name,
}
"""What counts alike in the table of intervals."""
RATES = """\
Where a configuration was measured by its loss at several rates in one setting of at most 100,000 tokens, all else
alike: what the best of them gained more than the one nearest to what each way would have taken. A floor raises the
seeds that lie lower in the range of rates searched for their method, on its logarithm; a search whose trials are short
raises them to its middle, 0.5. The floor from the other methods is the one that serves those best, and so was not
chosen with the method at hand. Brackets are of draws of whole methods here: they say nothing of other settings."""
REPEATS = (1.1, 2.0)
"""Points by which repeats of a run may differ: published ones do by 0.8 to 1.1, those scored on few rows by more."""
UNITS: tuple[Unit, ...] = ("points", "per cent of the loss")


def cell(values: Sequence[float], drawn: Sequence[Sequence[str]], form: str = ".1f") -> str:
    """Returns a mean with its interval."""
    mean, low, high = interval(values, drawn)
    return "–" if np.isnan(mean) else f"{mean:{form}} ({low:{form}} to {high:{form}})"


def regret_cells(made: Sequence[Choice]) -> tuple[str, str]:
    """Returns the regrets of the first suggestion and of the best of three, with their intervals."""
    drawn = [choice.drawn for choice in made]
    return cell([choice.regret for choice in made], drawn), cell([choice.best_of_three for choice in made], drawn)


def regret_lines(found: Sequence[Row], scheme: str, predicted: Array, ruled: Sequence[float | None]) -> list[str]:
    """Returns the table of one scheme, a row for each policy and unit."""
    lines = [
        "| unit | policy | first suggestion's regret | best of three's | best found | rank correlation | settings |",
        "|---|---|---|---|---|---|---|",
    ]
    made = choices(found, scheme, predicted, ruled)
    for unit in UNITS:
        for name, every in made.items():
            part = [choice for choice in every if choice.unit == unit]
            if not part:
                continue
            drawn = [choice.drawn for choice in part]
            first, three = regret_cells(part)
            hit = cell([100 * choice.hit for choice in part], drawn, ".0f")
            rank = cell([choice.rank for choice in part], drawn, ".2f")
            lines.append(f"| {unit} | {name} | {first} | {three} | {hit} % | {rank} | {len(part)} |")
    return lines


def luck(found: Sequence[Row]) -> str:
    """Returns what part of regret no advice could save, since most runs were measured once."""
    counted = [places for places in settings(found) if found[places[0]].unit == "points"]
    points = [np.array([found[place].points for place in places]) for places in counted]
    lost = [np.mean([unavoidable(each, noise) for each in points]) for noise in REPEATS]
    return (
        "Most runs were measured once, and the best of many is partly luck: whoever knew what each run comes to in the "
        f"mean would lose {lost[0]:.1f} points in these settings if repeats differed by {REPEATS[0]:g} points, and "
        f"{lost[1]:.1f} if by {REPEATS[1]:g}."
    )


def coverage_lines(found: Sequence[Row], scheme: str, predicted: Array) -> list[str]:
    """Returns how often the intervals held, and the error, by unit, for each way to count of `COUNTED`."""
    inside = covered(found, scheme)
    cells = [(missed(found, predicted), ".1f"), *((100 * inside[level], ".0f") for level in LEVELS)]
    lines = []
    for unit in UNITS:
        of_unit = np.array([row.unit == unit for row in found])
        for name, key in COUNTED.items():
            said = [cell(*alike(np.where(of_unit, values, np.nan), found, key), form) for values, form in cells]
            lines.append(f"| {scheme} | {unit} | {name} | {' | '.join(said)} |")
    return lines


def alike(values: Array, found: Sequence[Row], key: Callable[[Row], str]) -> tuple[list[float], list[tuple[str, str]]]:
    """Returns the mean over what is a number in each group of rows, and what the groups are drawn by."""
    known = np.flatnonzero(~np.isnan(values))
    rows_known = [found[place] for place in known]
    groups = places_by(rows_known, key).values()
    means = [float(values[known[places]].mean()) for places in groups]
    return means, [rows_known[places[0]].drawn for places in groups]


def table(found: Sequence[Row]) -> str:
    """Returns the page with all tables."""
    counted = settings(found)
    origins = sorted({row.address for row in found})
    pairs = len({row.cluster for row in found})
    lines = [
        "# What the recommender's advice is worth",
        "",
        "Written by `python benchmarks/recommend.py table`; do not edit.",
        "",
        f"{len(found)} measured runs of {len({row.method for row in found})} methods in "
        f"{len({row.run.setting for row in found})} settings, {pairs} pairs of model and training data. "
        f"{len(counted)} settings have four runs or more, so that there is something to choose from. "
        f"From: {', '.join(origins)}.",
        "",
        EXPLANATION,
        "",
        luck(found),
        "",
    ]
    predicted = {scheme: held_out(found, scheme, kept) for scheme in SCHEMES}
    ruled = [score(row) for row in found]
    for scheme in SCHEMES:
        lines += [f"## Leave one {scheme} out", "", *regret_lines(found, scheme, predicted[scheme], ruled), ""]
    heads = ("left out", "unit", "alike", "mean error", "in 50 %", "in 80 %", "in 95 %")
    lines += ["## Intervals", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [line for scheme in SCHEMES for line in coverage_lines(found, scheme, predicted[scheme])]
    lines += ["", "## Learning rates", "", RATES, "", *_rates.lines(found)]
    return "\n".join(lines) + "\n"
