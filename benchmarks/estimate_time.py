"""Times what estimates of one model cost, after the imports and with nothing cached.

    python benchmarks/estimate_time.py llama-7b --gpu a100-80gb
    python benchmarks/estimate_time.py llama-7b --gpu a100-80gb --candidates 40

The first times one estimate of each method at its first seed. The second does what a search does: it draws
candidates from the spaces of the methods that the recommender proposes, and traces each. The model is a folder with a
``config.json``, such as the README's. What a method refuses is not counted.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from autopeft import suggest
from autopeft.errors import AutopeftError
from autopeft.estimation.ahead import ahead
from autopeft.estimation.answer import cost
from autopeft.estimation.question import Plan, Question, plan
from autopeft.methods import all_methods, get_method
from autopeft.tuning.proposal import proposal
from autopeft.values.candidates import Candidate

TOKENS = 1024


def main() -> None:
    """Reads the command line, estimates, and prints the seconds of the slowest and of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--gpu", required=True)
    parser.add_argument("--candidates", type=int, help="draw so many as a search would")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2, help="as `suggest` has them; [2]")
    given = parser.parse_args()
    first = plan(_question(given.model, given.gpu, "lora"))
    cost(first)  # brings in torch, transformers and peft
    if given.candidates is None:
        asked = list(_of_each_method(given.model, given.gpu))
    else:
        asked = list(islice(_drawn(first, given.gpu), given.candidates))
    seconds: list[tuple[float, str]] = []
    setups = [run.setup for run in asked] if given.processes == 2 else []
    started = time.monotonic()
    with ahead(setups, tokens_per_row=first.tokens, hardware=first.hardware):
        for run in asked:
            began = time.monotonic()
            cost(run)
            seconds.append((time.monotonic() - began, _words(run.setup.candidate)))
    for spent, words in sorted(seconds, reverse=True)[:10]:
        print(f"{spent:6.2f} s  {words}")
    print(f"{len(seconds)} estimates: {time.monotonic() - started:.1f} s")


def _words(candidate: Candidate) -> str:
    return f"{candidate.method} on {candidate.targets}, layers {candidate.layers}, {candidate.quantization}"


def _question(model: str, gpu: str, method: str) -> Question:
    return Question(model=model, method=method, gpu=gpu, batch_size=1, sequence_length=TOKENS)


def _of_each_method(model: str, gpu: str) -> Iterator[Plan]:
    for name in all_methods():
        try:
            yield plan(_question(model, gpu, name))
        except AutopeftError as error:
            print(f"{name}: {str(error).splitlines()[0]}")


def _drawn(first: Plan, gpu: str) -> Iterator[Plan]:
    """Yields candidates without end."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    setup = first.setup
    found = suggest(setup.model.source, task=setup.task, gpu=gpu, tokens_per_row=TOKENS)
    starts = {s.candidate.method: s.candidate for s in found.candidates if s.fits}
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    proposed = proposal(tuple(starts.values()), setup.model.layers)
    while True:
        candidate = proposed.draw(drawn.ask())
        if not get_method(candidate.method).violations(replace(setup, candidate=candidate)):
            yield replace(first, setup=replace(setup, candidate=candidate))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        os.environ["AUTOPEFT_CACHE"] = empty
        main()
