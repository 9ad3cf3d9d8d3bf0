"""What an export target declares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autopeft.export._facts import Facts


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A tuned config as another tool's file.

    Attributes:
        text: the file's content.
        unsupported: what the tool cannot express or does in its own way, one sentence each.
        companions: files that must lie beside it, by name.
    """

    text: str
    unsupported: tuple[str, ...]
    companions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Target:
    """One tool.

    Attributes:
        file: the name that the tool, or its manual, gives such a file.
        schema: the version of the tool whose parser or schema the file follows.
        run: the command that takes the file, ``FILE`` standing for it.
        render: facts → the file.
    """

    name: str
    title: str
    file: str
    schema: str
    run: str
    render: "Callable[[Facts], Exported]"
