"""`autopeft report`: what a search tried and why its winner won, as one HTML file and a summary."""

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.output import Output


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --output folder of a search.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="The HTML file. [DIR/report.html]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Report: write one HTML file about a search, finished or not, and show a summary."""
    from autopeft.cli.report_view import document, view
    from autopeft.report import read_story, write_page

    story = read_story(folder)
    path = write_page(story, output)
    Output(as_json=as_json).result(document(story, path), *view(story, path))
