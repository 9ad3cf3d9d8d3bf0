"""What a command's help says reaches the terminal."""

from rich.text import Text
from typer.main import get_command

from autopeft.cli.main import app


def leaves(command):
    """Every command that does something."""
    below = getattr(command, "commands", {}).values()
    return [leaf for one in below for leaf in leaves(one)] if below else [command]


def test_no_help_is_taken_for_markup():
    """Words in square brackets would be dropped as a style: no option and no command has such in its help."""
    commands = leaves(get_command(app))
    told = [text for one in commands for text in (one.help, *(getattr(p, "help", None) for p in one.params)) if text]
    assert len(commands) > 12
    assert len(told) > 100
    assert [text for text in told if Text.from_markup(text).plain != text] == []
