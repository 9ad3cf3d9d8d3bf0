"""The one place that prints: data to stdout, everything said beside it to stderr."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class Output:
    """Where a command's result and its remarks go.

    With ``as_json`` stdout gets exactly one JSON document and the human text is left out; remarks, progress
    and warnings go to stderr in both modes.
    """

    def __init__(self, *, as_json: bool) -> None:
        from rich.console import Console

        self.as_json = as_json
        self._out = Console(highlight=False, soft_wrap=False)
        self.messages: Console = Console(stderr=True, highlight=False)

    @property
    def width(self) -> int:
        """Columns of the terminal, 80 where there is none."""
        return self._out.width

    def result(self, value: Any, *human: Any) -> None:
        """Prints the command's result: as JSON, or as the given rich renderables."""
        if self.as_json:
            from autopeft.files import plain, to_json

            print(to_json(plain(value)))  # noqa: T201
            return
        for part in human:
            _print(self._out, part)

    def say(self, message: Any) -> None:
        """Prints a remark to stderr."""
        _print(self.messages, message)


def _print(console: "Console", part: Any) -> None:
    # rich crops and breaks what is not to be wrapped, unless the whole call says so.
    console.print(part, soft_wrap=bool(getattr(part, "no_wrap", False)))


def unbroken(line: str) -> "Text":
    """Returns a line with a path in it as it stands: no markup, and not broken at the width, to be copied."""
    from rich.text import Text

    return Text(line, no_wrap=True)
