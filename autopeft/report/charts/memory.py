"""Memory: what was estimated against what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

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


@dataclass(frozen=True, kw_only=True)
class _Peak:
    """A trial's peak as it was measured, and as it was estimated, with what its process holds besides; in bytes."""

    outcome: TrialOutcome
    estimated: float
    measured: float

    @property
    def error(self) -> float:
        """How far the estimate is off, as a share of what was measured."""
        return abs(self.estimated / self.measured - 1)


def memory(story: Story) -> Section:
    """Returns the section: a dot per trial that has both figures, on the diagonal where they agree."""
    both = [
        _Peak(outcome=o, estimated=o.estimated_bytes, measured=o.peak_bytes)
        for o in story.outcomes
        if o.peak_bytes and o.estimated_bytes
    ]
    measured = [o for o in story.outcomes if o.peak_bytes]
    if not both:
        said = f"{len(measured)} trials have a measured peak and none an estimate." if measured else ""
        body = paragraph(f"No trial has both an estimated and a measured peak. {said}".strip())
    else:
        besides = median(peak.measured - peak.estimated for peak in both) if story.settings.process_peaks else 0.0
        peaks = [replace(peak, estimated=peak.estimated + besides) for peak in both]
        off = median(peak.error for peak in peaks)
        caption = (
            f"{_besides(besides)}Median error {off:.0%} over {len(peaks)} trials. On the line, estimate and "
            f"measurement agree; above it, more was needed than estimated. {_sources(peaks)}"
        )
        body = figure(lambda width: _draw(peaks, width), caption)
    return Section(key="memory", title="Memory, estimated and measured", body=body)


def _besides(held: float) -> str:
    if not held:
        return ""
    return (
        f"On a CPU the whole process is measured. What it holds besides a trial, {octets(round(held))} by the middle "
        "of these trials, is added to their estimates. "
    )


def _sources(peaks: Sequence[_Peak]) -> str:
    """Returns a sentence on how many estimates are traced: the others are drafts, for what surely fits."""
    traced = sum(peak.outcome.estimated_by == "trace" for peak in peaks)
    drafted = len(peaks) - traced
    if not drafted:
        return "All estimates are traced."
    return f"{traced} of the estimates are traced, {drafted} by formula, which is enough far below the limit."


def _draw(peaks: Sequence[_Peak], width: float) -> str:
    where = area(width, _HEIGHT, "00.00")
    values = [value for peak in peaks for value in (peak.estimated, peak.measured)]
    unit, unit_name = memory_unit(max(values))
    values = [value / unit for value in values]
    x, y = scale(values, where.left, where.right), scale(values, where.bottom, where.top)
    dots = [(x.at(peak.estimated / unit), y.at(peak.measured / unit), peak) for peak in peaks]
    worst = sorted(dots, key=lambda dot: -dot[2].error)[:_NAMED]
    return image(
        width,
        _HEIGHT,
        "Measured against estimated peak memory",
        [
            *vertical_axis(where, y, f"measured peak, {unit_name}", number),
            *horizontal_axis(where, x, f"estimated peak, {unit_name}", number),
            line(x.at(x.low), y.at(x.low), x.at(x.high), y.at(x.high), "diagonal"),
            *(circle(across, up, 4, "dot completed", _title(peak.outcome)) for across, up, peak in dots),
            *place_labels(
                [(a, u, p.outcome.candidate.method) for a, u, p in worst], [(a, u) for a, u, _ in dots], where
            ),
        ],
    )


def _title(outcome: TrialOutcome) -> str:
    return (
        f"trial {outcome.number}: {described(outcome.candidate)}: estimated {octets(outcome.estimated_bytes or 0)}, "
        f"measured {octets(outcome.peak_bytes or 0)}"
    )
