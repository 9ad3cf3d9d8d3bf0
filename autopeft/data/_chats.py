"""How a source writes its chats, for tools that have to be told."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autopeft.data._rows import listed, speaker
from autopeft.data._sources import read_rows
from autopeft.errors import DataError


@dataclass(frozen=True, kw_only=True)
class ChatForm:
    """The turns of a source's chats, as they are written there.

    Attributes:
        role: the key under which a turn has its speaker.
        content: the key under which it has what is said.
        speakers: the source's own name of each speaker, by the one name that it has here.
    """

    role: str
    content: str
    speakers: Mapping[str, str]

    @property
    def keys(self) -> tuple[str, str]:
        """Both keys, by which tools tell the forms of chats that they know."""
        return self.role, self.content


def chat_form(source: str, column: str) -> ChatForm | None:
    """Returns how the first chat of a local source is written; None where the source is elsewhere, or has none."""
    if not Path(source).expanduser().exists():
        return None
    try:
        rows = read_rows(source).splits["train"]
    except DataError:
        return None
    turns = listed(rows[0].get(column)) if rows else None
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        return None
    role = "role" if "role" in turns[0] else "from"
    return ChatForm(
        role=role,
        content="content" if "content" in turns[0] else "value",
        speakers={str(speaker(turn)): str(turn.get(role)) for turn in turns},
    )
