"""Fits the surrogate and says what its advice is worth on settings that it has not seen.

python benchmarks/recommend.py fit          writes profiles/surrogate.json
python benchmarks/recommend.py kinds        compares kinds of models, to choose among them
python benchmarks/recommend.py table        writes docs/recommender.md
python benchmarks/recommend.py weights      compares what a predicted gain is worth beside rules
python benchmarks/recommend.py kin          compares how far kin of what a search begins with are set back
python benchmarks/recommend.py likelihood   says how likely the runs are by the surrogate's beliefs, and by others
"""

import argparse
import datetime
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from autopeft import resources
from autopeft.files import plain, write_text
from autopeft.recommend.evidence import read_runs, shipped_runs
from benchmarks import _kin
from benchmarks._evaluate import SCHEMES, errors, held_out, settings
from benchmarks._gains import Row, rows
from benchmarks._kinds import kept
from benchmarks._mixed import BELIEFS, fit, likelihood
from benchmarks._page import UNITS, cell, regret_cells, table
from benchmarks._policies import by_rules, weighed
from benchmarks._rules import score

ROOT = Path(__file__).parent.parent
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
    print(
        f"{len(found)} rows, {len(made.methods)} methods, {len(text) / 1e3:.0f} kB; quantiles {plain(made.quantiles)}"
    )


def kinds(found: Sequence[Row]) -> None:
    """Prints the error and the regret of each kind of model under each scheme."""
    for scheme in SCHEMES:
        for name, (error, regret) in errors(found, scheme).items():
            print(f"{scheme:8} {name:14} error {error:6.2f}  regret {regret:5.2f}")


def likelihoods(found: Sequence[Row]) -> None:
    """Prints the log likelihood of all runs by the surrogate's beliefs, and what halving or doubling each adds."""
    base = likelihood(found)
    print(f"log likelihood of {len(found)} runs: {base:.1f}")
    for name, size in asdict(BELIEFS).items():
        lower, higher = (likelihood(found, replace(BELIEFS, **{name: size * factor})) - base for factor in (0.5, 2.0))
        print(f"{name:10} {size:5g}  halved {lower:+7.1f}  doubled {higher:+7.1f}")


def weights(found: Sequence[Row]) -> None:
    """Prints the regrets of the first suggestion and of the best of three, by what a predicted gain is worth."""
    ruled = [score(row) for row in found]
    for scheme in SCHEMES:
        predicted = held_out(found, scheme, kept)
        for unit, worth in product(UNITS, WORTHS):
            scores = weighed(predicted, ruled, worth)
            made = [by_rules(found, places, scores) for places in settings(found) if found[places[0]].unit == unit]
            known = [choice for choice in made if choice is not None]
            first, three = regret_cells(known)
            print(f"{scheme:8} {unit:20} worth {worth:<4g} first {first}  best of three {three}  ({len(known)})")


def kin(found: Sequence[Row]) -> None:
    """Prints what the best of a search's first methods loses to the best run measured, by how far kin are set back."""
    ruled = [score(row) or 0.0 for row in found]
    many = [places for places in settings(found) if len({found[p].method for p in places}) >= _kin.FEWEST_METHODS]
    for scheme in SCHEMES:
        scores = np.array(weighed(held_out(found, scheme, kept), ruled), dtype=float)
        for unit, worth in product(UNITS, _kin.KINS):
            asked = [places for places in many if found[places[0]].unit == unit]
            lost = [_kin.lost(found, places, scores, worth) for places in asked]
            shown = cell(lost, [found[places[0]].drawn for places in asked])
            print(f"{scheme:8} {unit:20} kin {worth:<4g} lost {shown}  ({len(asked)})")


def write_table(found: Sequence[Row]) -> None:
    """Writes the table, and prints it."""
    text = table(found)
    write_text(ROOT / "docs" / "recommender.md", text)
    print(text)


WHAT: Mapping[str, Callable[[Sequence[Row]], None]] = {
    "fit": write_fit, "kin": kin, "kinds": kinds, "likelihood": likelihoods, "table": write_table, "weights": weights
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
