"""The HTML page: every section in order, with its style sheet inside."""

from html import escape
from pathlib import Path

from autopeft import __version__
from autopeft.files import check_writable, write_text
from autopeft.report.charts.comparison import comparison
from autopeft.report.charts.curves import curves
from autopeft.report.charts.importances import importance
from autopeft.report.charts.memory import memory
from autopeft.report.charts.methods import methods
from autopeft.report.charts.pareto import pareto
from autopeft.report.charts.progress import progress
from autopeft.report.charts.timeline import timeline
from autopeft.report.charts.trials import trials
from autopeft.report.charts.winner import winner
from autopeft.report.section import Section
from autopeft.report.story import Story, read_story

_SECTIONS = (winner, comparison, progress, pareto, methods, importance, curves, memory, timeline, trials)

FILE_NAME = "report.html"


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Writes the report of a search, finished or not, and returns its path: ``report.html`` in the folder by default.

    Raises:
        StudyError: there is no search in the folder, or the file cannot be written there.
    """
    return write_page(read_story(folder), path)


def write_page(story: Story, path: Path | None = None) -> Path:
    """Writes the page of a story that was read, and returns its path, as `write_report` does.

    Raises:
        StudyError: the file cannot be written there.
    """
    target = path or story.folder / FILE_NAME
    check_writable(target)
    write_text(target, page(story))
    return target


def page(story: Story) -> str:
    """Returns the whole page, which asks for nothing from anywhere: the same story gives the same bytes."""
    sections = [draw(story) for draw in _SECTIONS]
    notes = _notes(story)
    title = f"autopeft search: {story.folder.resolve().name}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(title)}</title>",
            f"<style>{style()}</style></head><body>",
            f"<header><h1>{escape(title)}</h1><p>{escape(_subtitle(story))}</p></header>",
            f"<nav>{_links(sections)}</nav><main>",
            *(f'<section id="{s.key}"><h2>{escape(s.title)}</h2>{s.body}</section>' for s in sections),
            notes,
            f"</main><footer>autopeft {escape(__version__)}</footer></body></html>\n",
        ]
    )


def _subtitle(story: Story) -> str:
    identity, size = story.settings.identity, story.settings.size
    return (
        f"{identity['task']}, judged by {story.metric}; {len(story.outcomes)} trials in {story.seconds:,.0f} seconds; "
        f"a full trial sees {size.tokens:,} tokens"
    )


def _links(sections: list[Section]) -> str:
    return "".join(f'<a href="#{section.key}">{escape(section.title)}</a>' for section in sections)


def _notes(story: Story) -> str:
    if story.result is None or not story.result.notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in story.result.notes)
    return f'<section id="notes"><h2>Notes</h2><ul>{items}</ul></section>'


def style() -> str:
    """Returns the style sheet that the drawings' classes are of."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
