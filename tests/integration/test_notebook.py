"""In a notebook a search shows a table of its trials; elsewhere it shows nothing."""

import json
import os
import subprocess

import pytest

from autopeft.integration.notebook import in_notebook, observer
from autopeft.tuning.observer import Silent
from tests.environments import ROOT, interpreter

PACKAGES = ("nbclient==0.11.0", "ipykernel==7.4.0")
CELL = """
import autopeft
from autopeft.values.candidates import Constraints
result = autopeft.search(
    {model!r}, {data!r}, output={output!r}, trials=3, trial_tokens=400, folds=1,
    constraints=Constraints(methods=("lora", "ia3")),
)
result.winner.config.method
"""
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(open(sys.argv[1]).read())])
NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def test_a_script_shows_nothing():
    """Outside a notebook a search is silent."""
    assert not in_notebook()
    assert isinstance(observer(show=None), Silent)


@pytest.mark.slow
def test_a_notebook_shows_the_trials_as_they_end(tiny_models, tmp_path):
    """A real kernel runs a search: one table, drawn in place, holds a row per trial with its status and its loss."""
    data = tmp_path / "mine.csv"
    rows = [f"a {('bad', 'good')[i % 2]} film number {i * 7919 % 1000} seen {i * 31 % 97},{i % 2}" for i in range(80)]
    data.write_text("\n".join(["text,label", *rows]))
    cell, executed = tmp_path / "cell.py", tmp_path / "executed.ipynb"
    cell.write_text(CELL.format(model=str(tiny_models["bert"]), data=str(data), output=str(tmp_path / "out")))
    done = subprocess.run(
        [interpreter("notebook", *PACKAGES), "-c", RUN, cell, executed],
        capture_output=True, text=True, check=False, timeout=400, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs = json.loads(executed.read_text())["cells"][0]["outputs"]
    shown = [output["data"] for output in outputs if output["output_type"] == "display_data"]
    assert len(shown) == 1
    page = "".join(shown[0]["text/html"])
    for text in ("BertForSequenceClassification", "lora", "ia3", "completed", "0.69"):
        assert text in page
    (result,) = [output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"]
    assert "".join(result) in ("'lora'", "'ia3'")
