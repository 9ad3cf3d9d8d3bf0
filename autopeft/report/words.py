"""What the HTML page and the terminal say in the same words."""

from collections import Counter
from collections.abc import Iterator

from autopeft.report.story import Story
from autopeft.report.svg.scale import number
from autopeft.values.candidates import Candidate
from autopeft.values.names import STATUSES
from autopeft.values.outcomes import Difference, Score, SearchResult, TrialOutcome

MEANINGS = {
    "completed": "read to the end and scored",
    "pruned": "stopped at a reading, behind others",
    "infeasible": "rejected before it ran",
    "out_of_memory": "out of memory",
    "diverged": "diverged",
    "timed_out": "met the end of its time or the search's",
    "worker_lost": "its process was lost",
    "running": "running",
}


def described(candidate: Candidate) -> str:
    """Returns a candidate's settings in one line, its method first."""
    parameters = [f"{key}={plain_value(value)}" for key, value in candidate.parameters.items()]
    parts = [candidate.method, *parameters, candidate.targets, f"lr={number(candidate.learning_rate)}"]
    parts.append(f"batch={candidate.batch_size * candidate.accumulation}")
    parts += [word for word in (candidate.layers, candidate.quantization) if word not in ("all", "none")]
    return " ".join(part for part in parts if part != "none")


def plain_value(value: object) -> str:
    """Returns a parameter's value in few characters."""
    return number(value) if isinstance(value, float) else str(value)


def state(story: Story) -> str:
    """Returns how far the search has come, in a sentence."""
    if story.result is not None:
        return "The search is finished."
    if not story.attempts:
        return "No trial has been tried yet."
    if any(attempt.end is None for attempt in story.attempts):
        return "The search is not finished: a trial was running when this was written."
    if not story.ranked:
        return "No trial has come to its end, so there is no winner."
    return "The comparison with the baselines has not been made yet; the best trial below is what validation says."


def counts(story: Story) -> dict[str, int]:
    """Returns how many trials ended in each status, those that occur, in the order of statuses."""
    found = Counter(outcome.status for outcome in story.outcomes)
    return {status: found[status] for status in STATUSES if found[status]}


def why(story: Story) -> Iterator[str]:
    """Yields sentences on why the winner won, and on how far that can be trusted."""
    if not story.ranked:
        return
    result, chosen = story.result, chosen_trial(story)
    if result is None:
        yield _standing(story, chosen)
        return
    yield result.knee.reason if result.knee else _final(story, result, chosen)
    test = result.winner.test
    yield f"Trained anew with a seed that no trial had used, it scores {interval(test)} on {test.rows} test rows."
    for name, gap in result.difference.items():
        yield f"Winner minus {named(name)}: {gap_words(gap, lower_is_better=story.lower_is_better)}"


def chosen_trial(story: Story) -> TrialOutcome:
    """Returns the trial whose configuration won, and before that was settled the best one."""
    won = story.result.winner_trial if story.result else None
    return next((outcome for outcome in story.ranked if outcome.number == won), story.ranked[0])


def _final(story: Story, result: SearchResult, chosen: TrialOutcome) -> str:
    """Returns how the choice among those who were trained anew went."""
    if len(result.finalists) < 2:
        return _standing(story, chosen)
    told = {f.number: f"{f.trial_score:.4f} and {f.validation.value:.4f}" for f in result.finalists}
    others = ", ".join(f"trial {number} {scores}" for number, scores in told.items() if number != chosen.number)
    return (
        f"Validation could not tell {len(told)} trials apart, so each was trained anew with a fresh seed: over both "
        f"trainings trial {chosen.number} scored best on validation, {told[chosen.number]}, against {others}."
    )


def _standing(story: Story, chosen: TrialOutcome) -> str:
    place = story.ranked.index(chosen)
    score, many = f"{story.value(chosen):.4f}", len(story.ranked)
    if many == 1:
        return f"Trial {chosen.number} is the only one that came to its end: validation {story.metric} {score}."
    if place:
        ahead = f"number {place + 1} of the {many} that came to their end"
        return f"Trial {chosen.number} is {ahead}, and the first of them that did not diverge when it was trained anew."
    second = story.ranked[1]
    return (
        f"Trial {chosen.number} has the best validation {story.metric} of the {many} that came to their end: {score}; "
        f"the next is trial {second.number} ({second.candidate.method}) with {story.value(second):.4f}."
    )


def interval(score: Score) -> str:
    """Returns a score with its interval: ``0.8123 (95 % interval 0.7891 to 0.8340)``."""
    return f"{score.value:.4f} ({100 * score.level:.0f} % interval {score.low:.4f} to {score.high:.4f})"


def gap_words(gap: Difference, *, lower_is_better: bool) -> str:
    """Returns a difference with its interval, and whether it is better, worse, or not distinguishable from zero."""
    said = f"{gap.value:+.4f} ({100 * gap.level:.0f} % interval {gap.low:+.4f} to {gap.high:+.4f}), "
    if not gap.distinguishable:
        return f"{said}not distinguishable from zero."
    return f"{said}{'better' if (gap.value < 0) == lower_is_better else 'worse'}."


def named(key: str) -> str:
    """Returns a contender's or a reference's key as words."""
    return key.replace("_lora", " LoRA").replace("tfidf", "TF-IDF").replace("_", " ")
