"""How the trials of each method did."""

from collections import defaultdict

from autopeft.report.charts.rows import rows
from autopeft.report.section import Section, figure, legend, paragraph
from autopeft.report.story import Story
from autopeft.report.svg.draw import circle, image
from autopeft.report.svg.frame import BOTTOM, Area, horizontal_axis
from autopeft.report.svg.scale import number, scale
from autopeft.report.words import described
from autopeft.values.outcomes import TrialOutcome

_KEY = (("dot completed", "came to its end"), ("dot pruned", "stopped"))
_OUTLYING = 2.0


def methods(story: Story) -> Section:
    """Returns the section: a row of dots per method, one for each trial, at its loss at the last reading it shares."""
    read = [outcome for outcome in story.outcomes if outcome.curve]
    if not read:
        body = paragraph("No trial has been read yet.")
    else:
        caption = (
            "Validation loss at the first reading, after equal training: what every trial has. Lower, to the left, is "
            "better. Methods are ordered by their best trial; what lies far off is drawn at the right end."
        )
        body = legend(_KEY) + figure(lambda width: _draw(read, width), caption)
    return Section(key="methods", title="Methods", body=body)


def _draw(read: list[TrialOutcome], width: float) -> str:
    groups: dict[str, list[TrialOutcome]] = defaultdict(list)
    for outcome in read:
        groups[outcome.candidate.method].append(outcome)
    order = sorted(groups, key=lambda name: min(_loss(o) for o in groups[name]))
    names = [f"{name} ({len(groups[name])})" for name in order]
    layout = rows(width, names, 30.0)
    bottom = layout.bottom(len(order))
    where = Area(left=layout.left, right=layout.right, top=0, bottom=bottom)
    limit = _limit([_loss(o) for o in read])
    x = scale([min(_loss(o), limit) for o in read], where.left, where.right)
    dots = [
        circle(
            x.at(min(_loss(outcome), limit)), layout.middle(position), 4.5,
            f"dot {'completed' if outcome.status == 'completed' else 'pruned'}",
            f"trial {outcome.number}: {described(outcome.candidate)}: {_loss(outcome):.4f}",
        )
        for position, name in enumerate(order)
        for outcome in sorted(groups[name], key=lambda o: o.status == "completed")
    ]  # fmt: skip
    axis = horizontal_axis(where, x, "validation loss at the first reading", number, grid=True)
    return image(width, bottom + BOTTOM, "Losses of the trials of each method", [*axis, *layout.names(names), *dots])


def _loss(outcome: TrialOutcome) -> float:
    return outcome.curve[0].validation_loss


def _limit(losses: list[float]) -> float:
    """Returns the loss beyond which dots are drawn at the end, so that one bad trial does not squeeze the others."""
    ordered = sorted(losses)
    low, median = ordered[0], ordered[len(ordered) // 2]
    upper = ordered[(3 * len(ordered)) // 4] if len(ordered) > 3 else ordered[-1]
    return max(upper + _OUTLYING * (upper - low), median)
