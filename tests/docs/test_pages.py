"""What the pages of the site show is run, the examples of docstrings on its reference too."""

from dataclasses import replace

import pytest

from docs._generate import python
from tests.docs.blocks import PAGES, REFERENCE, ROOT, blocks
from tests.docs.running import of, run

HAVING_A_CONFIG = """
import autopeft
from autopeft import AutoPeftPruningCallback, TunedConfig

trainer = build_trainer()
autopeft.hyperparameter_search(trainer, n_trials=1).tuned.save("tuned.yaml")
"""
"""What the examples of docstrings take for granted."""

AFTER_THE_REFERENCE = """
import optuna
from pathlib import Path

study = optuna.create_study()
study.optimize(objective, n_trials=1)
assert best.tuned == TunedConfig.load("tuned.yaml")
assert model.config.model_type == "bert"
assert Path("code-has-run").exists()
"""
SITE = [page for page in PAGES if page.is_relative_to(ROOT / "docs") and of(page)]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # a machine that others use is no defect of a page


@pytest.mark.parametrize("page", SITE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_shows_runs(page, tiny_models, tmp_path):
    """The blocks run as they stand, but for what stands in for minutes, several GPUs and the name of a server."""
    run(of(page), tmp_path, tiny_models)


def test_what_docstrings_show_runs(tiny_models, tmp_path):
    """The examples on the page that is made from docstrings run, one after the other."""
    found = [block for block in blocks(REFERENCE, python()) if block.language == "python"]
    assert len(found) >= 4
    having = [replace(block, needs=("minutes", "the model hub")) for block in found]
    run(having, tmp_path, tiny_models, HAVING_A_CONFIG, AFTER_THE_REFERENCE)
