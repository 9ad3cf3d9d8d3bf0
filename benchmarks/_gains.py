"""The evidence as a table to fit and to validate on: what each run gained over the default recipe of its setting."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean

from autopeft.methods import all_methods
from autopeft.recommend._surrogate_features import Described, describe_run
from autopeft.recommend.evidence import level
from autopeft.values.evidence import Run
from autopeft.values.predictions import Unit

FARTHEST = 40.0
"""Gains are cut to this: that a starved run lies at zero accuracy says no more than that it starved."""
MOST_LOST, MOST_GAINED = -20.0, 15.0
"""What is fitted is cut further: one run far above a starved reference would outweigh all others of its method."""

OWN = "autopeft benchmarks"
"""Who measured what the scripts of this folder did: one machine, whichever of them ran on it."""
ALIASES: Mapping[str, str] = {
    "bert-base": "bert-base-uncased",
    "llama 2 7 b": "llama-2-7b",
    "llama2-7b": "llama-2-7b",
    "llama3-8b": "llama-3-8b",
    "stablelm alpha 3 b": "stablelm-base-alpha-3b",
}
"""What tables call a checkpoint that others call otherwise, in lower case. BERT base is taken for the uncased one, as
tables mean that do not say."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run with its gain over plain LoRA in its setting.

    Attributes:
        points: of a hundred for metrics that are shares, per cent of the loss for losses.
    """

    run: Run
    method: str
    described: Described
    points: float
    unit: Unit

    @property
    def target(self) -> float:
        """What a model is fitted to."""
        return min(max(self.points, MOST_LOST), MOST_GAINED)

    @property
    def trained_on(self) -> str:
        """Names the training data: one training scored on six tasks is one piece of evidence."""
        return self.run.task.name.split(", ")[0]

    @property
    def cluster(self) -> str:
        """Names the checkpoint and the training data: what is left out and weighed as one piece of evidence."""
        return f"{self.whole_model} / {self.trained_on}"

    @property
    def drawn(self) -> tuple[str, str]:
        """Names the checkpoint and the training data, each of which is drawn whole: `benchmarks._evaluate.interval`."""
        return self.whole_model, self.trained_on

    @property
    def whole_model(self) -> str:
        """Names the checkpoint, whoever wrote its name and whatever of its layers we left."""
        name = self.run.model.name.rsplit("/", 1)[-1].lower()
        if self.origin == OWN:
            name = re.sub(r"-\d+$", "", name)
        return ALIASES.get(name, name)

    @property
    def address(self) -> str:
        """Names the repository or the script that it is from."""
        return self.run.source.split("/tree/")[0].split("/blob/")[0]

    @property
    def origin(self) -> str:
        """Names who measured it."""
        return OWN if self.address.startswith(f"{OWN}/") else self.address


def rows(runs: Iterable[Run]) -> list[Row]:
    """Returns the completed runs of known methods in settings that have a plain LoRA run."""
    settings: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.quality is not None and run.status == "completed":
            settings[run.setting].append(run)
    methods = all_methods()
    found = []
    for members in settings.values():
        references = [level(run.quality) for run in members if run.reference and run.quality is not None]
        for run in members if references else ():
            if run.method is None or run.quality is None:
                continue
            points = level(run.quality) - mean(references)
            found.append(
                Row(
                    run=run, method=run.method, described=describe_run(run, methods[run.method]),
                    points=min(max(points, -FARTHEST), FARTHEST),
                    unit="points" if run.quality.higher_is_better else "per cent of the loss",
                )
            )  # fmt: skip
    return found
