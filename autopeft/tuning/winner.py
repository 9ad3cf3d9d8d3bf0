"""The winner as a config for full training."""

from collections.abc import Mapping

from autopeft import __version__
from autopeft.training.run import plan_steps
from autopeft.tuned import SCHEMA_VERSION, FullTraining, ModelReference, Provenance, TunedConfig
from autopeft.tuning.prepare import Prepared
from autopeft.values.outcomes import Contender
from autopeft.values.plans import Plan

FULL_EPOCHS = 3.0


def tuned_config(prepared: Prepared, winner: Contender, trials: Mapping[str, int], seconds: float) -> TunedConfig:
    """Returns the winner as a config for full training.

    Args:
        prepared: the search.
        winner: with its scores.
        trials: how many ended in each status.
        seconds: of the search.
    """
    epoch = sum(prepared.encoded["train"].lengths)
    plan = Plan(tokens=round(FULL_EPOCHS * epoch), seed=prepared.seed)
    return TunedConfig(
        schema_version=SCHEMA_VERSION,
        model=ModelReference(
            source=prepared.model.source,
            fingerprint=prepared.model.fingerprint,
            task=prepared.model.task,
            labels=prepared.model.labels,
        ),
        candidate=winner.config,
        data=prepared.encoded.spec,
        training=FullTraining(
            epochs=FULL_EPOCHS,
            steps=len(plan_steps(prepared.encoded["train"], winner.config, plan)),
            warmup_share=plan.warmup_share,
            weight_decay=plan.weight_decay,
            max_gradient_norm=plan.max_gradient_norm,
            seed=prepared.seed,
            head_seed=prepared.seed,
        ),
        provenance=Provenance(
            autopeft_version=__version__,
            validation=winner.validation,
            test=winner.test,
            trials=trials,
            search_seconds=seconds,
            reasons=_reasons(prepared, winner.config.method),
        ),
    )


def _reasons(prepared: Prepared, method: str) -> tuple[str, ...]:
    """Returns what the recommender preferred a method for, with the sources; nothing for one that it did not rank."""
    ranked = prepared.recommendation.candidates
    reasons = next((found.reasons for found in ranked if found.candidate.method == method), ())
    return tuple(f"{reason.because} ({reason.source})" for reason in reasons if reason.verdict == "prefer")
