"""The learning curves, a panel per method."""

from collections import defaultdict

from autopeft.report.section import PANEL, Section, legend, panels, paragraph
from autopeft.report.story import Story
from autopeft.report.svg.draw import circle, image, path
from autopeft.report.svg.frame import area, horizontal_axis, vertical_axis
from autopeft.report.svg.scale import number, scale
from autopeft.report.words import described
from autopeft.values.outcomes import TrialOutcome

_HEIGHT = 190.0
_KEPT = 0.95

_KEY = (("dot completed", "came to its end"), ("dot pruned", "stopped"), ("dot faint", "trials of other methods"))


def curves(story: Story) -> Section:
    """Returns the section: validation loss over training tokens, all panels on the same axes."""
    read = [outcome for outcome in story.outcomes if outcome.curve]
    if not read:
        body = paragraph("No trial has been read yet.")
    else:
        groups: dict[str, list[TrialOutcome]] = defaultdict(list)
        for outcome in read:
            groups[outcome.candidate.method].append(outcome)
        order = sorted(groups, key=lambda name: min(o.curve[-1].validation_loss for o in groups[name]))
        body = legend(_KEY) + panels((f"{name} ({len(groups[name])})", _draw(read, groups[name])) for name in order)
    return Section(key="curves", title="Learning curves", body=body)


def _draw(read: list[TrialOutcome], own: list[TrialOutcome]) -> str:
    where = area(PANEL, _HEIGHT, "0.000")
    losses = sorted(reading.validation_loss for outcome in read for reading in outcome.curve)
    limit = losses[int(_KEPT * (len(losses) - 1))]
    x = scale([float(r.tokens) for outcome in read for r in outcome.curve], where.left, where.right, zero=True)
    y = scale([loss for loss in losses if loss <= limit], where.bottom, where.top)

    def course(outcome: TrialOutcome) -> list[tuple[float, float]]:
        # What lies above the frame, a few diverging trials, is drawn along its upper edge.
        return [(x.at(r.tokens), y.at(min(r.validation_loss, y.high))) for r in outcome.curve]

    others = [outcome for outcome in read if outcome not in own]
    parts = [path(course(outcome), "curve faint") for outcome in others]
    for outcome in sorted(own, key=lambda o: o.status == "completed"):
        kind = "completed" if outcome.status == "completed" else "pruned"
        label = f"trial {outcome.number}: {described(outcome.candidate)}"
        parts.append(path(course(outcome), f"curve {kind}", label))
        parts += [circle(across, up, 2.5, f"dot {kind}", label) for across, up in course(outcome)]
    return image(
        PANEL,
        _HEIGHT,
        f"Learning curves of {own[0].candidate.method}",
        [
            *vertical_axis(where, y, "validation loss", lambda v: f"{v:.3g}"),
            *horizontal_axis(where, x, "training tokens", number),
            *parts,
        ],
    )
