"""What the README and the pages beside the examples show is run."""

import pytest

from tests.docs.blocks import PAGES, ROOT
from tests.docs.running import of, run

OUTSIDE = [page for page in PAGES if not page.is_relative_to(ROOT / "docs") and of(page)]
SAME = "examples/generation.md"
"""Its commands are those of a script, as `test_blocks.py` sees to, and the script is run as an example."""


@pytest.mark.slow
@pytest.mark.timeout(1500)  # a machine that others use is no defect of a page
@pytest.mark.parametrize(
    "page", [page for page in OUTSIDE if page != ROOT / SAME], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_what_it_shows_runs(page, tiny_models, tmp_path):
    """The blocks run as they stand, but for what stands in for minutes, several GPUs and the name of a server."""
    run(of(page), tmp_path, tiny_models)
