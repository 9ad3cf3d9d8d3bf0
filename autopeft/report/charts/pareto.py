"""Quality against what it costs: parameters, seconds, memory; the front marked."""

from autopeft.report.front import COSTS, Cost, costed, front
from autopeft.report.section import PANEL, Section, legend, panels, paragraph, table
from autopeft.report.story import Story
from autopeft.report.svg.draw import circle, image, path
from autopeft.report.svg.frame import area, horizontal_axis, vertical_axis
from autopeft.report.svg.labels import place_labels
from autopeft.report.svg.scale import number, scale
from autopeft.report.words import described
from autopeft.tuning.pareto import said, titled
from autopeft.values.outcomes import TrialOutcome

_HEIGHT = 250.0

_KNEE = 8.0  # the ring around the trial that was taken

_KEY = (("dot front", "on the front: nothing cheaper scores as well"), ("dot completed", "beaten by a cheaper trial"))


def pareto(story: Story) -> Section:
    """Returns the section: one panel for each cost that was measured."""
    known = [(cost, pairs) for cost in COSTS if (pairs := costed(story.ranked, cost))]
    if not known:
        body = paragraph("No trial has come to its end yet, so there is nothing to weigh.")
    else:
        drawn = ((f"{story.metric} against {cost.title}", _draw(story, cost, pairs)) for cost, pairs in known)
        body = _weighed(story) + legend(_KEY) + panels(drawn)
    return Section(key="pareto", title="Quality and what it costs", body=body)


def _weighed(story: Story) -> str:
    """Returns the knee's reason and the front in all objectives together, where several were asked for."""
    result = story.result
    if result is None or result.knee is None:
        return ""
    costs = [name for name in result.objectives if name != "quality"]
    rows = [
        (
            f"{point.number}{' (the knee)' if point.number == result.knee.number else ''}",
            point.config.method,
            f"{point.values['quality']:.4f}",
            *(said(name, point.values[name]) for name in costs),
        )
        for point in result.pareto
    ]
    told = paragraph("The trials that no other equals in all objectives and beats in one; the ring is the knee.")
    return paragraph(result.knee.reason) + told + table(("trial", "method", story.metric, *map(titled, costs)), rows)


def _draw(story: Story, cost: Cost, pairs: list[tuple[TrialOutcome, float]]) -> str:
    values = [value for _, value in pairs]
    unit, unit_name = cost.unit(max(values))
    where = area(PANEL, _HEIGHT, "0.0000")
    wide = 0 < 5 * min(values) < max(values)
    x = scale([value / unit for value in values], where.left, where.right, log=wide)
    y = scale([story.value(outcome) for outcome, _ in pairs], where.bottom, where.top)
    best = front(pairs)
    chosen = {outcome.number for outcome, _ in best}
    knee = story.result.knee.number if story.result and story.result.knee else None
    line = [(x.at(value / unit), y.at(story.value(outcome))) for outcome, value in best]
    dots = [(x.at(value / unit), y.at(story.value(outcome)), outcome, value) for outcome, value in pairs]
    labels = [(x.at(value / unit), y.at(story.value(o)), f"{o.candidate.method}") for o, value in reversed(best)]
    return image(
        PANEL,
        _HEIGHT,
        f"Validation {story.metric} against {cost.title}",
        [
            *vertical_axis(where, y, f"validation {story.metric}", lambda v: f"{v:.4g}"),
            *horizontal_axis(
                where, x, ", ".join(filter(None, (cost.title, unit_name, "log scale" if wide else ""))), number
            ),
            path(line, "curve front"),
            *(
                circle(
                    across,
                    up,
                    4.5 if o.number in chosen else 3.5,
                    "dot front" if o.number in chosen else "dot completed",
                    f"trial {o.number}: {described(o.candidate)}: {story.value(o):.4f}, {cost.form(value)}",
                )
                for across, up, o, value in dots
            ),
            *(
                circle(across, up, _KNEE, "ring", f"trial {o.number}: the knee, which was taken")
                for across, up, o, _ in dots
                if o.number == knee
            ),
            *place_labels(labels, [(across, up) for across, up, *_ in dots], where),
        ],
    )
