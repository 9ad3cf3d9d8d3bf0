"""Memory: what was estimated against what was measured."""

from autopeft.report.section import Section, figure, paragraph
from autopeft.report.story import Story
from autopeft.report.svg.draw import circle, image, line
from autopeft.report.svg.frame import area, horizontal_axis, vertical_axis
from autopeft.report.svg.labels import place_labels
from autopeft.report.svg.scale import memory_unit, number, octets, scale
from autopeft.report.words import described
from autopeft.values.outcomes import TrialOutcome

_HEIGHT, _NAMED = 300.0, 5
"""The trials whose estimates are furthest off are named."""


def memory(story: Story) -> Section:
    """Returns the section: a dot per trial that has both figures, on the diagonal where they agree."""
    both = [o for o in story.outcomes if o.peak_bytes and o.estimated_bytes]
    measured = [o for o in story.outcomes if o.peak_bytes]
    if not both:
        said = f"{len(measured)} trials have a measured peak and none an estimate." if measured else ""
        body = paragraph(f"No trial has both an estimated and a measured peak. {said}".strip())
    else:
        caption = (
            f"Median error {_median_error(both):.0%} over {len(both)} trials. On the line, estimate and measurement "
            f"agree; above it, more was needed than estimated. {_sources(both)} On a CPU the process's whole resident "
            "set is measured."
        )
        body = figure(lambda width: _draw(both, width), caption)
    return Section(key="memory", title="Memory, estimated and measured", body=body)


def _sources(both: list[TrialOutcome]) -> str:
    """Returns a sentence on how many estimates are traced: the others are drafts, for what surely fits."""
    traced = sum(outcome.estimated_by == "trace" for outcome in both)
    drafted = len(both) - traced
    if not drafted:
        return "All estimates are traced."
    return f"{traced} of the estimates are traced, {drafted} by formula, which is enough far below the limit."


def _median_error(both: list[TrialOutcome]) -> float:
    from statistics import median

    return median(_error(outcome) for outcome in both)


def _error(outcome: TrialOutcome) -> float:
    return abs((outcome.estimated_bytes or 0) / (outcome.peak_bytes or 1) - 1)


def _draw(both: list[TrialOutcome], width: float) -> str:
    where = area(width, _HEIGHT, "00.00")
    values = [float(v) for o in both for v in (o.peak_bytes or 1, o.estimated_bytes or 1)]
    unit, unit_name = memory_unit(max(values))
    values = [value / unit for value in values]
    x, y = scale(values, where.left, where.right), scale(values, where.bottom, where.top)
    dots = [(x.at((o.estimated_bytes or 1) / unit), y.at((o.peak_bytes or 1) / unit), o) for o in both]
    worst = sorted(dots, key=lambda dot: -_error(dot[2]))[:_NAMED]
    return image(
        width,
        _HEIGHT,
        "Measured against estimated peak memory",
        [
            *vertical_axis(where, y, f"measured peak, {unit_name}", number),
            *horizontal_axis(where, x, f"estimated peak, {unit_name}", number),
            line(x.at(x.low), y.at(x.low), x.at(x.high), y.at(x.high), "diagonal"),
            *(
                circle(
                    across,
                    up,
                    4,
                    "dot completed",
                    f"trial {o.number}: {described(o.candidate)}: estimated {octets(o.estimated_bytes or 0)}, "
                    f"measured {octets(o.peak_bytes or 0)}",
                )
                for across, up, o in dots
            ),
            *place_labels([(a, u, o.candidate.method) for a, u, o in worst], [(a, u) for a, u, _ in dots], where),
        ],
    )
