"""What measured runs lead one to expect of suggestions: it orders what rules allow, and never overrides a violation."""

from collections.abc import Sequence
from dataclasses import replace

from autopeft.methods import get_method
from autopeft.recommend._surrogate_features import describe_candidate
from autopeft.recommend.evidence import SHIPPED
from autopeft.recommend.setting import Setting, planned_tokens
from autopeft.recommend.surrogate import predict
from autopeft.tasks import get_task
from autopeft.values.candidates import Reason, Suggestion
from autopeft.values.predictions import Prediction, Unit

RULE = "predicted-from-measured-runs"

WORTH = 8.0
"""What a predicted gain of one moves a score by: a clear rule is worth an eighth of a point. Rules that weigh as much
as predictions lose a third more on settings held out (``benchmarks/recommend.py weights``)."""


def with_predictions(suggestions: Sequence[Suggestion], setting: Setting) -> tuple[Suggestion, ...]:
    """Returns the suggestions with what each is expected to gain, as a reason among the others, in the order given."""
    tokens = round(planned_tokens(setting.task))
    described = [
        describe_candidate(
            suggestion.candidate, get_method(suggestion.candidate.method), setting.model, setting.task,
            trainable=suggestion.estimate.trainable_parameters, tokens=tokens,
        )
        for suggestion in suggestions
    ]  # fmt: skip
    predictions = predict(described, unit=unit_of(setting))
    return tuple(repredicted(*pair) for pair in zip(suggestions, predictions, strict=True))


def unit_of(setting: Setting) -> Unit:
    """Returns what gains are counted in: per cent of the loss where that is what the task is judged by."""
    task = get_task(setting.task.task)
    return "per cent of the loss" if task.default_metric(1.0) in task.lower_is_better else "points"


def repredicted(suggestion: Suggestion, prediction: Prediction) -> Suggestion:
    """Returns a suggestion with a prediction, and with the score that it makes among the other reasons."""
    kept = tuple(reason for reason in suggestion.reasons if reason.rule != RULE)
    reasons = tuple(sorted((*kept, _reason(prediction)), key=lambda reason: -abs(reason.weight)))
    return replace(
        suggestion, prediction=prediction, reasons=reasons, score=sum(reason.weight for reason in reasons)
    )  # fmt: skip


def _reason(prediction: Prediction) -> Reason:
    weight = round(WORTH * prediction.points, 3)
    return Reason(
        rule=RULE,
        verdict="prefer" if weight > 0 else "avoid",
        because=f"Measured runs lead one to expect {said(prediction)} to the default recipe; one counts {WORTH:g}.",
        source=SHIPPED,
        weight=weight,
    )


def said(prediction: Prediction) -> str:
    """Returns a prediction in words: ``+1.2 points (80 %: -3.1 to +5.5)``."""
    interval = f"{prediction.level:.0%}: {prediction.low:+.1f} to {prediction.high:+.1f}".replace("%", " %", 1)
    return f"{prediction.points:+.1f} {prediction.unit} ({interval})"
