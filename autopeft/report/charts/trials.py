"""The trials in figures: how many ended how, and a table of all of them."""

from autopeft.report.section import Section, paragraph, table
from autopeft.report.story import Story
from autopeft.report.words import MEANINGS, counts, described
from autopeft.values.outcomes import TrialOutcome

_HEADER = ("trial", "status", "score", "loss", "tokens", "seconds", "configuration", "why not completed")


def trials(story: Story) -> Section:
    """Returns the section: the counts, and every trial in a table that is folded away."""
    told = ", ".join(f"{count} {MEANINGS[status]}" for status, count in counts(story).items())
    body = paragraph(f"{len(story.outcomes)} trials: {told}." if story.outcomes else "No trial has ended.")
    if story.outcomes:
        rows = (_row(story, outcome) for outcome in story.outcomes)
        body += f"<details><summary>All trials</summary>{table(_HEADER, rows)}</details>"
    return Section(key="trials", title="Trials", body=body)


def _row(story: Story, outcome: TrialOutcome) -> tuple[str, ...]:
    return (
        str(outcome.number),
        outcome.status.replace("_", " "),
        "" if outcome.score is None else f"{story.value(outcome):.4f}",
        f"{outcome.curve[-1].validation_loss:.4f}" if outcome.curve else "",
        f"{outcome.tokens:,}",
        f"{outcome.seconds:.1f}",
        described(outcome.candidate),
        outcome.reason,
    )
