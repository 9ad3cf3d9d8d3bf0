"""The best validation score so far, over the search's seconds."""

from autopeft.report.section import Section, figure, paragraph
from autopeft.report.story import Story
from autopeft.report.svg.draw import circle, image, path
from autopeft.report.svg.frame import area, horizontal_axis, vertical_axis
from autopeft.report.svg.labels import place_labels
from autopeft.report.svg.scale import number, scale, time_unit
from autopeft.report.words import described

_HEIGHT = 260.0
_CAPTION = "Each dot is a trial that came to its end; the line is the best so far."


def progress(story: Story) -> Section:
    """Returns the section: a step line of the best score, and a dot for each trial that came to its end."""
    if not story.ranked:
        body = paragraph("No trial has come to its end yet, so there is no score to follow.")
    else:
        body = figure(lambda width: _draw(story, width), _CAPTION)
    return Section(key="progress", title="Progress", body=body)


def _draw(story: Story, width: float) -> str:
    ends = {attempt.number: attempt.end for attempt in story.attempts}
    timed = sorted(((ends.get(o.number) or story.seconds, o) for o in story.ranked), key=lambda pair: pair[0])
    last = max(story.seconds, timed[-1][0])
    unit, unit_name = time_unit(last)
    values = [story.value(outcome) for _, outcome in timed]
    where = area(width, _HEIGHT, "0.0000")
    y = scale(values, where.bottom, where.top)
    x = scale([0.0, last / unit], where.left, where.right, zero=True)
    dots = [(x.at(end / unit), y.at(story.value(o)), o) for end, o in timed]
    best = min if story.lower_is_better else max
    steps: list[tuple[float, float]] = []
    records: list[tuple[float, float, str]] = []
    for position, (across, _, outcome) in enumerate(dots):
        level = y.at(best(values[: position + 1]))
        if not steps or level != steps[-1][1]:
            steps += [(across, steps[-1][1])] if steps else []
            records.insert(0, (across, level, f"{outcome.candidate.method} {story.value(outcome):.4f}"))
        steps.append((across, level))
    steps.append((x.at(last / unit), steps[-1][1]))
    return image(
        width,
        _HEIGHT,
        f"Best validation {story.metric} over the search's {unit_name}",
        [
            *vertical_axis(where, y, f"validation {story.metric}", lambda v: f"{v:.4g}"),
            *horizontal_axis(where, x, f"search {unit_name}", number),
            path(steps, "curve strong"),
            *(
                circle(
                    across, up, 4, "dot completed", f"trial {o.number}: {described(o.candidate)}: {story.value(o):.4f}"
                )
                for across, up, o in dots
            ),
            *place_labels(records, [(across, up) for across, up, _ in dots], where),
        ],
    )
