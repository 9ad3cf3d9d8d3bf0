"""The report of a search: one HTML file that needs nothing else, and the facts that the terminal shows."""

from autopeft.report.page import write_page, write_report
from autopeft.report.story import Story, read_story

__all__ = ["Story", "read_story", "write_page", "write_report"]
