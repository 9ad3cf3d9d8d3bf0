"""What a search teaches the next suggestion: its trials go to the user's own store of measured runs."""

import hashlib
import json
from collections.abc import Collection, Sequence

from autopeft.recommend._evidence_store import enabled, keep
from autopeft.recommend._evidence_trials import model_facts, task_facts, trial_run
from autopeft.tuning.folder import Settings
from autopeft.tuning.prepare import Prepared
from autopeft.values.outcomes import TrialOutcome

TAUGHT = ("completed", "pruned", "diverged", "out_of_memory")
"""Outcomes that say something about a configuration; a lost process or a spent clock does not."""


def keep_lessons(
    prepared: Prepared, settings: Settings, outcomes: Sequence[TrialOutcome], known: Collection[int]
) -> int:
    """Keeps what a run of a search has tried, unless the user has switched that off, and returns how many trials.

    Args:
        prepared: the search.
        settings: its settings.
        outcomes: of all its trials.
        known: numbers of trials that an earlier run of it has kept.
    """
    if not enabled():
        return 0
    setting = _setting(settings)
    device, objective = prepared.hardware.device, prepared.objective
    model, task = model_facts(prepared.model, prepared.model.source), task_facts(prepared.task, setting)
    new = [outcome for outcome in outcomes if outcome.number not in known and outcome.status in TAUGHT]
    return sum(
        keep(
            trial_run(
                outcome, name=f"{setting}-{outcome.number}", setting=setting, model=model, task=task,
                metric=objective.name, lower_is_better=objective.lower_is_better,
                scored_rows=settings.size.scoring_rows, seed=prepared.seed, device=device.name,
                on_gpu=device.kind != "cpu", source="autopeft search", licence="the user's own",
            )
        )
        for outcome in new
    )  # fmt: skip


def _setting(settings: Settings) -> str:
    """Returns a name for what the trials have in common: the same search has the same one, any other another."""
    facts = json.dumps([settings.identity, settings.size.tokens], sort_keys=True)
    return f"search-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
