"""The winner beside its baselines on the untouched test split."""

from collections.abc import Sequence
from dataclasses import dataclass

from autopeft.report.charts.rows import rows
from autopeft.report.section import Section, figure, paragraph
from autopeft.report.story import Story
from autopeft.report.svg.draw import circle, image, line, text
from autopeft.report.svg.frame import BOTTOM, Area, horizontal_axis
from autopeft.report.svg.scale import number, scale
from autopeft.report.words import named
from autopeft.values.outcomes import SearchResult


@dataclass(frozen=True, kw_only=True)
class _Interval:
    name: str
    value: float
    low: float
    high: float
    css: str


_PAIRED = "The winner minus each baseline on the same rows. An interval that holds zero is no evidence of a difference."


def comparison(story: Story) -> Section:
    """Returns the section: scores with their intervals, then the paired differences with theirs."""
    if story.result is None:
        body = paragraph("The comparison on the test split is made at the end of a search; it has not been made yet.")
        return Section(key="comparison", title="Comparison", body=body)
    test, better = story.result.winner.test, "lower" if story.lower_is_better else "higher"
    scores, gaps = _scores(story.result), _gaps(story.result)
    caption = f"{story.metric} on {test.rows} test rows with {test.level:.0%} intervals; {better} is better."
    body = figure(lambda width: _draw(scores, width, f"test {story.metric}", None), caption)
    if gaps:
        body += figure(lambda width: _draw(gaps, width, f"difference in {story.metric}", 0.0), _PAIRED)
    return Section(key="comparison", title="Comparison on the test split", body=body)


def _scores(result: SearchResult) -> list[_Interval]:
    tested = [
        *(
            (named(key), one.test, "front" if key == "winner" else "completed")
            for key, one in result.contenders.items()
        ),
        *((named(key), score, "pruned") for key, score in result.references.items()),
    ]
    return [_Interval(name=name, value=s.value, low=s.low, high=s.high, css=css) for name, s, css in tested]


def _gaps(result: SearchResult) -> list[_Interval]:
    return [
        _Interval(
            name=f"winner minus {named(key)}", value=gap.value, low=gap.low, high=gap.high,
            css="front" if gap.distinguishable else "pruned",
        )
        for key, gap in result.difference.items()
    ]  # fmt: skip


def _draw(shown: Sequence[_Interval], width: float, title: str, zero: float | None) -> str:
    names = [each.name for each in shown]
    layout = rows(width, names, 34.0)
    bottom = layout.bottom(len(shown))
    where = Area(left=layout.left, right=layout.right, top=0, bottom=bottom)
    ends = [end for each in shown for end in (each.low, each.high)] + ([] if zero is None else [zero])
    x = scale(ends, where.left, where.right)
    parts = []
    for position, each in enumerate(shown):
        height = layout.middle(position)
        said = f"{each.value:+.4f}" if zero is not None else f"{each.value:.4f}"
        parts += [
            line(x.at(each.low), height, x.at(each.high), height, f"interval {each.css}"),
            circle(x.at(each.value), height, 5, f"dot {each.css}", f"{each.low:.4f} to {each.high:.4f}"),
            # Above its dot where the name stands beside the row, else at the end of the line that the name begins.
            text(x.at(each.value), height - 9, said, "tick", "middle")
            if layout.beside
            else text(layout.right, height - 13, said, "tick", "end"),
        ]
    marker = [] if zero is None else [line(x.at(zero), 0, x.at(zero), bottom, "zero")]
    axis = horizontal_axis(where, x, title, number, grid=True)
    return image(width, bottom + BOTTOM, title, [*axis, *layout.names(names), *marker, *parts])
