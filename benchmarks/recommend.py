"""Fits the surrogate and says what its advice is worth on settings that it has not seen.

python benchmarks/recommend.py fit          writes profiles/surrogate.json
python benchmarks/recommend.py kinds        compares kinds of models, to choose among them
python benchmarks/recommend.py table        writes docs/recommender.md
python benchmarks/recommend.py weights      compares what a predicted gain is worth beside rules
python benchmarks/recommend.py kin          compares how far kin of what a search begins with are set back
"""

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from autopeft import resources
from autopeft.files import plain, write_text
from autopeft.recommend.evidence import read_runs, shipped_runs
from autopeft.recommend.expect import WORTH
from autopeft.recommend.surrogate import LEVELS
from autopeft.values.predictions import Unit
from benchmarks import _kin, _rates
from benchmarks._evaluate import (
    SCHEMES,
    Array,
    Choice,
    covered,
    default_scores,
    errors,
    followed,
    held_out,
    interval,
    missed,
    overall_best,
    places_by,
    random_choice,
    settings,
)
from benchmarks._gains import Row, rows
from benchmarks._kinds import KINDS
from benchmarks._mixed import fit
from benchmarks._rules import score

ROOT = Path(__file__).parent.parent
KEPT = "kept"
EXPLANATION = """\
A gain is the difference to plain LoRA in the same setting: points of a hundred where the metric is a share, per cent of
the loss where it is a loss. Regret is what the best run of the setting gained more than the one that was followed. A
suggestion has found the best where it is within 0.8 of it. Means over settings; in brackets 95 % of bootstrap draws of
whole pairs of model and training data: a training that is scored on six tasks counts as one. Choices are among the runs
that were measured in a setting, not among all that could be tried, and what a policy ties counts as the mean over the
orders that its ties leave. A checkpoint is one model under all its names and however many of its layers were left, and
our own scripts, which ran on one machine, are one source.

The surrogate was fitted without what is left out; that low rates starve is a belief it starts from, whose size was set
with all runs at hand. The rules are asked where the model's shape is known, and were written with some of the tables at
hand: they are not held out. What of a configuration a table does not say is taken to be as its method is first tried.
`suggest` adds the surrogate's weight to theirs. Loss settings are short runs on one CPU: they say what learns fast, not
what ends best. Some tables are by authors of a method in them. Errors and intervals leave the reference out, which
gains nothing by definition. Intervals are made to hold where every setting counts alike, since whoever asks comes with
one of their own; counted besides are pairs of model and training data, and runs, a third of which are of two grids."""
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
KNOWN_SHARE = 0.8
"""Of a setting's runs, about which the rules have to have something to say; the others come last."""
UNITS: tuple[Unit, ...] = ("points", "per cent of the loss")
WORTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""What a predicted gain of one may be worth beside rules, whose clear ones weigh 1."""


def evidence(extra: Sequence[Path]) -> list[Row]:
    """Returns the table of gains of the shipped runs, and of further files'."""
    runs = [run for path in extra for run in read_runs(path)]
    return rows([*shipped_runs(), *runs])


def write_fit(found: Sequence[Row]) -> None:
    """Writes the surrogate of all rows."""
    made = fit(found, datetime.date.today().isoformat())
    text = json.dumps(plain(made), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    write_text(resources.profiles() / "surrogate.json", f"{text}\n")
    print(f"{len(found)} rows, {len(made.methods)} methods, {len(text) / 1e3:.0f} kB; quantiles {dict(made.quantiles)}")


def kinds(found: Sequence[Row]) -> None:
    """Prints the error and the regret of each kind of model under each scheme."""
    for scheme in SCHEMES:
        for name, (error, regret) in errors(found, scheme).items():
            print(f"{scheme:8} {name:14} error {error:6.2f}  regret {regret:5.2f}")


def choices(
    found: Sequence[Row], scheme: str, predicted: Array, ruled: Sequence[float | None]
) -> Mapping[str, list[Choice]]:
    """Returns what came of each policy in each setting.

    Args:
        found: the runs.
        scheme: what was left out.
        predicted: gains, by predictions that have not seen it.
        ruled: scores by the rules, None where they cannot be asked.
    """
    best, suggested = overall_best(found, scheme), weighed(found, predicted, ruled)
    policies: dict[str, Callable[[list[int]], Choice | None]] = {
        "surrogate": lambda places: followed(found, places, predicted[places]),
        "always default LoRA": lambda places: without_order(followed(found, places, default_scores(found, places))),
        "evidence's overall best": lambda places: followed(found, places, best[places]),
        "rules alone": lambda places: by_rules(found, places, ruled),
        "rules with the surrogate, as suggest": lambda places: by_rules(found, places, suggested),
        "random": lambda places: random_choice(found, places),
    }
    return {
        name: [made for places in settings(found) if (made := policy(places)) is not None]
        for name, policy in policies.items()
    }


def without_order(choice: Choice) -> Choice:
    """Returns the choice of a policy that has a first suggestion and nothing after it."""
    return replace(choice, best_of_three=float("nan"), rank=float("nan"))


def weighed(
    found: Sequence[Row], predicted: Array, ruled: Sequence[float | None], worth: Mapping[Unit, float] = WORTH
) -> list[float | None]:
    """Returns the rules' scores with the weight that `suggest` gives to predictions, or another one."""
    added = [worth[row.unit] * float(gain) for row, gain in zip(found, predicted, strict=True)]
    return [None if value is None else value + more for value, more in zip(ruled, added, strict=True)]


def weights(found: Sequence[Row]) -> None:
    """Prints the regrets of the first suggestion and of the best of three, by what a predicted gain is worth."""
    ruled = [score(row) for row in found]
    for scheme in SCHEMES:
        predicted = held_out(found, scheme, KINDS[KEPT])
        for unit, worth in product(UNITS, WORTHS):
            scores = weighed(found, predicted, ruled, dict.fromkeys(UNITS, worth))
            made = [by_rules(found, places, scores) for places in settings(found) if found[places[0]].unit == unit]
            known = [choice for choice in made if choice is not None]
            first, three = regret_cells(known)
            print(f"{scheme:8} {unit:20} worth {worth:<4g} first {first}  best of three {three}  ({len(known)})")


def kin(found: Sequence[Row]) -> None:
    """Prints what the best of a search's first methods loses to the best run measured, by how far kin are set back."""
    ruled = [score(row) or 0.0 for row in found]
    many = [places for places in settings(found) if len({found[p].method for p in places}) >= _kin.FEWEST_METHODS]
    for scheme in SCHEMES:
        scores = np.array(weighed(found, held_out(found, scheme, KINDS[KEPT]), ruled), dtype=float)
        for unit, worth in product(UNITS, _kin.KINS):
            asked = [places for places in many if found[places[0]].unit == unit]
            lost = [_kin.lost(found, places, scores, worth) for places in asked]
            shown = cell(lost, [found[places[0]].cluster for places in asked])
            print(f"{scheme:8} {unit:20} kin {worth:<4g} lost {shown}  ({len(asked)})")


def by_rules(found: Sequence[Row], places: Sequence[int], scores: Sequence[float | None]) -> Choice | None:
    """Returns what the order of some scores comes to; None where too many of a setting's runs have none."""
    known = [value for place in places if (value := scores[place]) is not None]
    if len(known) < KNOWN_SHARE * len(places):
        return None
    own = [scores[place] for place in places]
    return followed(found, places, np.array([min(known) - 1 if value is None else value for value in own]))


def cell(values: Sequence[float], clusters: Sequence[str], form: str = ".1f") -> str:
    """Returns a mean with its interval."""
    mean, low, high = interval(values, clusters)
    return "–" if np.isnan(mean) else f"{mean:{form}} ({low:{form}} to {high:{form}})"


def regret_cells(made: Sequence[Choice]) -> tuple[str, str]:
    """Returns the regrets of the first suggestion and of the best of three, with their intervals."""
    clusters = [choice.cluster for choice in made]
    return cell([choice.regret for choice in made], clusters), cell([choice.best_of_three for choice in made], clusters)


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
            clusters = [choice.cluster for choice in part]
            first, three = regret_cells(part)
            hit = cell([100 * choice.hit for choice in part], clusters, ".0f")
            rank = cell([choice.rank for choice in part], clusters, ".2f")
            lines.append(f"| {unit} | {name} | {first} | {three} | {hit} % | {rank} | {len(part)} |")
    return lines


def coverage_lines(found: Sequence[Row], scheme: str, predicted: Array) -> list[str]:
    """Returns how often the intervals held, and the error, for each way to count of `COUNTED`."""
    inside = covered(found, scheme)
    cells = [(missed(found, predicted), ".1f"), *((100 * inside[level], ".0f") for level in LEVELS)]
    lines = []
    for name, key in COUNTED.items():
        said = [cell(*alike(values, found, key), form) for values, form in cells]
        lines.append(f"| {scheme} | {name} | {' | '.join(said)} |")
    return lines


def alike(values: Array, found: Sequence[Row], key: Callable[[Row], str]) -> tuple[list[float], list[str]]:
    """Returns the mean over what is a number in each group of rows, and the groups' clusters."""
    known = np.flatnonzero(~np.isnan(values))
    rows_known = [found[place] for place in known]
    groups = places_by(rows_known, key).values()
    means = [float(values[known[places]].mean()) for places in groups]
    return means, [rows_known[places[0]].cluster for places in groups]


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
    ]
    predicted = {scheme: held_out(found, scheme, KINDS[KEPT]) for scheme in SCHEMES}
    ruled = [score(row) for row in found]
    for scheme in SCHEMES:
        lines += [f"## Leave one {scheme} out", "", *regret_lines(found, scheme, predicted[scheme], ruled), ""]
    lines += ["## Intervals", "", "| left out | alike | mean error | in 50 % | in 80 % | in 95 % |", "|---" * 6 + "|"]
    lines += [line for scheme in SCHEMES for line in coverage_lines(found, scheme, predicted[scheme])]
    lines += ["", "## Learning rates", "", RATES, "", *_rates.lines(found)]
    return "\n".join(lines) + "\n"


def write_table(found: Sequence[Row]) -> None:
    """Writes the table, and prints it."""
    text = table(found)
    write_text(ROOT / "docs" / "recommender.md", text)
    print(text)


WHAT: Mapping[str, Callable[[Sequence[Row]], None]] = {
    "fit": write_fit, "kin": kin, "kinds": kinds, "table": write_table, "weights": weights
}  # fmt: skip


def main(given: list[str] | None = None) -> None:
    """Runs one of these."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--evidence", type=Path, action="append", default=[], help="a further file of runs")
    options = parser.parse_args(given)
    WHAT[options.what](evidence(options.evidence))


if __name__ == "__main__":
    main()
