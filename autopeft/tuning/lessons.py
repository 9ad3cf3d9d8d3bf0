"""What a search teaches the next suggestion: its trials go to the user's own store of measured runs."""

import hashlib
import json
from collections.abc import Sequence

from autopeft.recommend._evidence_store import enabled, keep, kept_names
from autopeft.recommend._evidence_trials import model_facts, task_facts, trial_run
from autopeft.tuning.folder import OutputFolder, Settings
from autopeft.tuning.prepare import Prepared
from autopeft.values.outcomes import TrialOutcome

TAUGHT = ("completed", "pruned", "diverged", "out_of_memory")
"""Outcomes that say something about a configuration; a lost process or a spent clock does not."""


def keep_lessons(prepared: Prepared, settings: Settings, outcomes: Sequence[TrialOutcome], folder: OutputFolder) -> int:
    """Keeps what a search has tried, unless the user has switched that off, and returns how many trials.

    What the store has of it already is not kept twice: an earlier run of the search kept it, unless that was killed.

    Args:
        prepared: the search.
        settings: its settings.
        outcomes: of the trials that were run in its folder.
        folder: its output, whose name of its own tells its trials from those of the same search elsewhere.
    """
    taught = [outcome for outcome in outcomes if outcome.status in TAUGHT]
    if not enabled() or not taught:
        return 0
    setting, held = _setting(settings), kept_names()
    names = {outcome.number: f"{setting}-{folder.place()[:8]}-{outcome.number}" for outcome in taught}
    device, objective = prepared.hardware.device, prepared.objective
    model, task = model_facts(prepared.model, prepared.model.source), task_facts(prepared.task, setting)
    return sum(
        keep(
            trial_run(
                outcome, name=names[outcome.number], setting=setting, model=model, task=task,
                metric=objective.name, lower_is_better=objective.lower_is_better,
                scored_rows=settings.size.scoring_rows, seed=prepared.seed, device=device.name,
                on_gpu=device.kind != "cpu", source="autopeft search", licence="the user's own",
            )
        )
        for outcome in taught
        if names[outcome.number] not in held
    )  # fmt: skip


def _setting(settings: Settings) -> str:
    """Returns a name for what the trials have in common: the same search has the same one, any other another."""
    facts = json.dumps([settings.identity, settings.size.tokens], sort_keys=True)
    return f"search-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
