"""The code blocks of the documentation, as a reader meets them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("docs/**/*.md"), ROOT / "README.md", *ROOT.glob("examples/**/*.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
_FENCE = re.compile(r"(?:<!-- not run: (?P<why>[^>]+?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
_SNIPPET = re.compile(r'^--8<-- "([^"]+)"$', re.M)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``why`` says why it is not run, and is empty where it is."""

    page: Path
    language: str
    code: str
    why: str

    @property
    def name(self) -> str:
        """The page, as a test's name."""
        return self.page.relative_to(ROOT).as_posix()

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each `autopeft` command in a block of shell."""
        joined = re.sub(r"\\\n\s*", " ", re.sub(r"<<'(\w+)'\n.*?^\1$", "", self.code, flags=re.M | re.S))
        defaults = re.sub(
            r"\$\{\w+:-([^}]*)\}", r"\1", joined
        )  # ${LIMIT:---time 2m} as a reader who sets nothing runs it
        lines = (line.strip() for line in defaults.splitlines())
        found = (shlex.split(line, comments=True) for line in lines if not line.startswith("#"))
        return [words[1:] for words in found if words and Path(words[0]).name == "autopeft"]


def blocks(page: Path) -> list[Block]:
    """Returns the blocks of a page in order, included files in place."""
    text = _SNIPPET.sub(lambda match: (ROOT / match[1]).read_text(), page.read_text())
    return [Block(page, found["language"], found["code"], found["why"] or "") for found in _FENCE.finditer(text)]


EVERY = [block for page in PAGES for block in blocks(page)]
