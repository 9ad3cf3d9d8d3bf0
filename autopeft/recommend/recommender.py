"""Ranks what could be tried: every allowed method with the configurations it declares, judged by the rules."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autopeft.errors import NothingFitsError, invalid, unknown
from autopeft.estimation.ahead import ahead
from autopeft.estimation.misplaced import advice_on
from autopeft.methods import Method, all_methods, get_method, is_own
from autopeft.recommend.confirm import confirmed
from autopeft.recommend.dividing import undivided_method
from autopeft.recommend.expect import with_predictions
from autopeft.recommend.own import with_own
from autopeft.recommend.plans import Planned, plan, seed_candidates
from autopeft.recommend.remedies import gib, nothing_fits, too_large
from autopeft.recommend.serving import served
from autopeft.recommend.setting import HEADROOM, Setting, plan_setup, setting_of
from autopeft.recommend.shrink import shrunk
from autopeft.values.candidates import Candidate, Constraints, Estimate, Recommendation, Rejection, Suggestion
from autopeft.values.evidence import Run
from autopeft.values.profiles import HardwareProfile, ModelProfile, TaskProfile

TRACED = 5
"""Suggestions whose memory is traced, at about a second each; what was traced once is remembered."""


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """What came of one method: its suggestions, or why it is left out."""

    suggestions: tuple[Suggestion, ...] = ()
    rejection: Rejection | None = None


def recommend(
    hardware: HardwareProfile,
    model: ModelProfile,
    task: TaskProfile,
    constraints: Constraints = Constraints(),  # noqa: B008 - frozen
    *,
    traced: int = TRACED,
    own: Sequence[Run] = (),
) -> Recommendation:
    """Returns candidates in order of preference, and the methods left out with what each lacks.

    The best configuration of every method comes first, by score; then the second best of every method, and so
    on; what does not fit comes last. Equal scores are ordered by name. Memory is traced for the first ``traced``
    of them, and is by formula for the others, as their notes say. The result depends on the arguments, the
    installed catalogue and what was measured on this card alone.

    Args:
        hardware: to train on.
        model: to train.
        task: to train for.
        constraints: what a candidate must meet.
        traced: suggestions whose memory is traced.
        own: the user's measured runs; those on this model and data correct the predictions.

    Raises:
        InvalidValueError: a constraint names a method that is not known.
        NothingFitsError: no method has a configuration that meets the constraints; the message lists what
            each one lacks, in GiB, and what would make it fit.
    """
    setting = setting_of(hardware, model, task, constraints)
    verdicts = [_judge(method, setting) for method in allowed_methods(constraints)]
    rejected = tuple(v.rejection for v in verdicts if v.rejection is not None)
    possible = [suggestion for verdict in verdicts for suggestion in verdict.suggestions]
    if not possible:
        raise NothingFitsError(nothing_fits(rejected, setting))
    expected, mine = with_own(with_predictions(possible, setting), setting, own)
    order = ranked(expected)
    first = [plan_setup(setting, suggestion.candidate) for suggestion in order[:traced]]
    with ahead(first, tokens_per_row=setting.tokens_per_row, hardware=setting.hardware):
        leaders = ranked(confirmed(suggestion, setting) for suggestion in order[:traced])
    fitting = (*(s for s in leaders if s.fits), *(s for s in order[traced:] if s.fits))
    unfit = tuple(s for s in (*leaders, *order[traced:]) if not s.fits)
    if not fitting:
        raise NothingFitsError(nothing_fits((*rejected, *_all_too_large(unfit, setting)), setting))
    candidates = (*fitting, *unfit)
    notes = _notes(setting)
    if mine:
        notes += (f"{mine} of your own trials on this model and data correct the predictions.",)
    if 0 < traced < len(order):
        notes += (f"Memory is traced for the first {traced} candidates and by formula for the others.",)
    return Recommendation(candidates=candidates, rejected=rejected, notes=notes)


def allowed_methods(constraints: Constraints) -> tuple[Method, ...]:
    """Returns the methods that the constraints name or leave, by name.

    Raises:
        InvalidValueError: a name is not in the catalogue, or nothing is left of it.
    """
    known = all_methods()
    for key, names in (("methods", constraints.methods), ("exclude", constraints.exclude)):
        for name in names:
            if name in known or is_own(name):
                continue
            if advice := advice_on(name):
                raise invalid(key, "the constraints", "methods", name, advice)
            raise unknown(key, "the constraints", name, known)
    wanted = constraints.methods or tuple(known)
    # What the catalogue does not know is an import path, and of somebody else's package.
    left = tuple(known.get(name) or get_method(name) for name in sorted(set(wanted) - set(constraints.exclude)))
    if not left:
        excluded = ",".join(constraints.exclude)
        raise invalid("exclude", "the constraints", "such that one method at least is left", excluded)
    return left


def _judge(method: Method, setting: Setting) -> _Verdict:
    because = _unsuited(method, setting)
    if because:
        return _Verdict(rejection=Rejection(method=method.name, because=because))
    planned = [_planned(method, candidate, setting) for candidate in seed_candidates(method, setting)]
    costed = [_suggestion(p, p.estimate, setting) for p in planned if p.estimate is not None]
    if not costed:
        return _Verdict(rejection=Rejection(method=method.name, because=planned[0].violations))
    suggestions = [s for s in costed if not _trains_too_much(s.estimate.trainable_parameters, setting)]
    if not suggestions:
        least = min(s.estimate.trainable_parameters for s in costed)
        return _Verdict(rejection=_over_budget(method, least, setting))
    if not any(s.fits for s in suggestions):
        return _Verdict(rejection=too_large(method, suggestions, setting))
    return _Verdict(suggestions=_distinct(suggestions))


def _unsuited(method: Method, setting: Setting) -> tuple[str, ...]:
    able, because = method.capabilities, []
    if setting.task.task not in able.tasks:
        because.append(f"It does not train {setting.task.task}.")
    if setting.model.kind not in able.models:
        because.append(f"It does not apply to {setting.model.kind} models.")
    if setting.constraints.mergeable_only and able.adds_latency:
        because.append("It cannot be merged into the weights and adds latency at inference.")
    because.extend(undivided_method(method, setting.constraints.team))
    server = setting.constraints.server
    if server is not None and served(method, server) is None:
        because.append(f"{server} does not serve it, and it cannot be merged into the weights.")
    return tuple(because)


def _planned(method: Method, candidate: Candidate, setting: Setting) -> Planned:
    first = plan(method, candidate, setting)
    if first.estimate is None or not _trains_too_much(first.estimate.trainable_parameters, setting):
        return first
    return plan(method, shrunk(method, candidate, setting), setting)


def _trains_too_much(trained: int, setting: Setting) -> bool:
    limit = setting.constraints.max_trainable
    return limit is not None and trained > limit


def _over_budget(method: Method, least: int, setting: Setting) -> Rejection:
    return Rejection(
        method=method.name,
        because=(f"It trains at least {least:,} parameters; {setting.constraints.max_trainable:,} are allowed.",),
        remedy=f"a limit of {least:,} trained parameters",
    )


def _suggestion(planned: Planned, cost: Estimate, setting: Setting) -> Suggestion:
    return Suggestion(
        candidate=planned.candidate,
        estimate=cost,
        fits=cost.memory.total_bytes <= setting.memory_limit,
        score=sum(reason.weight for reason in planned.reasons),
        reasons=planned.reasons,
        seed_rate=planned.seed_rate,
    )


def _all_too_large(suggestions: Sequence[Suggestion], setting: Setting) -> tuple[Rejection, ...]:
    """Returns the rejections of the methods of suggestions of which none fits after all."""
    names = dict.fromkeys(suggestion.candidate.method for suggestion in suggestions)
    return tuple(
        too_large(get_method(name), [s for s in suggestions if s.candidate.method == name], setting) for name in names
    )


def _distinct(suggestions: list[Suggestion]) -> tuple[Suggestion, ...]:
    """Returns the suggestions without repeats: two seeds can shrink to the same candidate."""
    kept: list[Suggestion] = []
    for suggestion in suggestions:
        if all(suggestion.candidate != other.candidate for other in kept):
            kept.append(suggestion)
    return tuple(kept)


def ranked(suggestions: Iterable[Suggestion]) -> tuple[Suggestion, ...]:
    """Returns the best of every method by score, then the second best of every method, and so on."""
    by_method: dict[str, list[Suggestion]] = {}
    for suggestion in sorted(suggestions, key=lambda s: (not s.fits, -s.score)):
        by_method.setdefault(suggestion.candidate.method, []).append(suggestion)
    placed = [(place, s) for of_method in by_method.values() for place, s in enumerate(of_method)]
    placed.sort(key=lambda item: (not item[1].fits, item[0], -item[1].score, item[1].candidate.method))
    return tuple(suggestion for _, suggestion in placed)


def _notes(setting: Setting) -> tuple[str, ...]:
    model, task, notes = setting.model, setting.task, []
    if setting.constraints.memory_bytes is None:
        free = setting.hardware.device.free_memory_bytes
        notes.append(f"Of the {gib(free)} free, {HEADROOM:.0%} is left unused.")
    if task.tokens.longest > setting.tokens_per_row:
        notes.append(f"Rows are cut to the model's {model.max_positions} positions; one has {task.tokens.longest}.")
    if setting.hardware.device.throughput is None:
        notes.append("Step times are unknown: this device's throughput is not known.")
    return tuple(notes)
