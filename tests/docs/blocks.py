"""The code blocks of the documentation, as a reader meets them.

A comment ahead of a block, `<!-- needs: minutes, the model hub -->`, says what a reader has for it and a test has not;
`tests/docs/standins.py` has what stands in for each.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("docs/**/*.md"), ROOT / "README.md", *ROOT.glob("examples/**/*.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
REFERENCE = ROOT / "docs" / "reference" / "python.md"
"""Made from docstrings when the site is built."""

_FENCE = re.compile(r"(?:<!-- needs: (?P<needs>[^>]+?) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
_SNIPPET = re.compile(r'--8<-- "([^"]+)"\n')
_HEREDOC = re.compile(r"<<'(\w+)'\n.*?^\1$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        needs: what it takes beyond what a test has.
        file: the file that it shows whole, from the repository's root; empty where it shows none.
    """

    page: Path
    language: str
    code: str
    needs: tuple[str, ...] = ()
    file: str = ""

    @property
    def name(self) -> str:
        """The page, as a test's name."""
        return self.page.relative_to(ROOT).as_posix()

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each `autopeft` command in a block of shell."""
        return commands(self.code)


def commands(shell: str) -> list[list[str]]:
    """Returns the arguments of each `autopeft` command in a script."""
    joined = re.sub(r"\\\n\s*", " ", _HEREDOC.sub("", shell))
    defaults = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", joined)  # ${LIMIT:---time 2m} as a reader who sets nothing runs it
    lines = (line.strip() for line in defaults.splitlines())
    found = (shlex.split(line, comments=True) for line in lines if not line.startswith("#"))
    return [words[1:] for words in found if words and Path(words[0]).name == "autopeft"]


def blocks(page: Path, text: str) -> list[Block]:
    """Returns the blocks of a page in order, included files in place."""
    return [_block(page, found) for found in _FENCE.finditer(text)]


def _block(page: Path, found: re.Match[str]) -> Block:
    needs = tuple(part.strip() for part in (found["needs"] or "").split(",") if part.strip())
    shown = _SNIPPET.fullmatch(found["code"])
    code = (ROOT / shown[1]).read_text() if shown else found["code"]
    return Block(page, found["language"], code, needs, shown[1] if shown else "")


EVERY = [block for page in PAGES for block in blocks(page, page.read_text())]
