"""When each trial ran, and how it ended."""

from collections import defaultdict
from collections.abc import Sequence

from autopeft.report.section import Section, figure, legend, paragraph
from autopeft.report.story import Attempt, Story
from autopeft.report.svg.draw import image, line, rectangle, text, text_width
from autopeft.report.svg.frame import BOTTOM, Area, horizontal_axis
from autopeft.report.svg.scale import number, scale, time_unit
from autopeft.report.words import MEANINGS

_LANE, _BAR = 30.0, 20.0


def timeline(story: Story) -> Section:
    """Returns the section: a lane per worker, a bar per stretch of work, coloured by how it ended."""
    if not story.attempts:
        body = paragraph("No trial has been begun.")
    else:
        seen = {attempt.status for attempt in story.attempts}
        key = legend((f"dot {status}", meaning) for status, meaning in MEANINGS.items() if status in seen)
        caption = "Numbers are the trials'. A trial that was stopped and went on later has a bar for each stretch."
        if story.resumed:
            caption += " A dashed line marks where the search was resumed; the pause is left out."
        body = key + figure(lambda width: _draw(story, width), caption)
    return Section(key="timeline", title="Timeline", body=body)


def lanes(attempts: Sequence[Attempt], now: float) -> list[tuple[int, Attempt]]:
    """Returns each stretch with its lane, by start: a worker keeps its lane, which another one takes over in time.

    A worker that has several trials trained at once, on a cluster, has as many lanes.
    """
    at_once = [part for worker in _by_worker(attempts) for part in _in_turn([[a] for a in worker], now)]
    placed = [(lane, one) for lane, part in enumerate(_in_turn(at_once, now)) for one in part]
    return sorted(placed, key=lambda each: (each[1].start, each[1].number))


def _by_worker(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        found[attempt.worker].append(attempt)
    return list(found.values())


def _in_turn(parts: Sequence[list[Attempt]], now: float) -> list[list[Attempt]]:
    """Returns parts put one after the other where the first has ended before the next begins, each whole."""
    rows: list[list[Attempt]] = []
    for part in sorted(parts, key=lambda part: min((a.start, a.number) for a in part)):
        begins = min(attempt.start for attempt in part)
        free = (row for row in rows if max(_ended(attempt, now) for attempt in row) <= begins)
        row = next(free, None)
        if row is None:
            rows.append(list(part))
        else:
            row += part
    return rows


def _ended(attempt: Attempt, now: float) -> float:
    return now if attempt.end is None else attempt.end


def _draw(story: Story, width: float) -> str:
    now = max([story.seconds, *(a.end if a.end is not None else a.start + 1 for a in story.attempts)])
    placed = lanes(story.attempts, now)
    bottom = (max(lane for lane, _ in placed) + 1) * _LANE + 4
    where = Area(left=6, right=width - 14, top=0, bottom=bottom)
    unit, unit_name = time_unit(now)
    x = scale([0.0, now / unit], where.left, where.right, zero=True)
    parts = []
    for lane, attempt in placed:
        left, right = x.at(attempt.start / unit), x.at((now if attempt.end is None else attempt.end) / unit)
        top, label = lane * _LANE + 6, str(attempt.number)
        title = f"trial {attempt.number} ({attempt.method}): {MEANINGS[attempt.status]}"
        parts.append(rectangle(left, top, max(1.5, right - left - 1), _BAR, f"dot {attempt.status}", title))
        if right - left > text_width(label) + 4:
            parts.append(text((left + right) / 2, top + 14, label, f"on {attempt.status}", "middle"))
    parts += [line(x.at(at / unit), 0, x.at(at / unit), bottom, "resumed") for at in story.resumed]
    axis = horizontal_axis(where, x, f"search {unit_name}", number)
    return image(width, bottom + BOTTOM, "When each trial ran", [*axis, *parts])
