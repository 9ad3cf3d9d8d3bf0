"""Runs the blocks of a page in their order, in one folder, and compares what they print with what the page shows."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.docs.blocks import EVERY, Block
from tests.docs.standins import put, standing_in

RUNNER = """
import json, subprocess, sys
space = {"__name__": "page"}
for number, (language, code) in enumerate(json.load(sys.stdin)):
    print(f"--- block {number}", flush=True)
    if language == "python":
        exec(compile(code, f"block {number}", "exec"), space)
    elif language == "sh":
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
    else:
        missing = [line for line in code.splitlines() if line.strip() not in done.stdout]
        assert not missing, missing
"""
HAVING_A_TRAINER = """
def build_trainer(rate=1e-3):
    import transformers
    from pathlib import Path
    from autopeft.testing.models import tiny_model_folder

    rows = [{"input_ids": [1, 10 + i % 2 * 90, 20], "attention_mask": [1, 1, 1], "labels": i % 2} for i in range(64)]
    folder = tiny_model_folder("bert", Path("tiny-bert"))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    settings = {"learning_rate": rate, "max_steps": 4, "use_cpu": True, "report_to": "none", "save_strategy": "no"}
    args = transformers.TrainingArguments("out", **settings)
    return transformers.Trainer(model=model, args=args, train_dataset=rows, eval_dataset=rows[:16])
"""


def of(page: Path) -> list[Block]:
    """Returns the blocks of a page that are run or compared; files that it shows are run as examples."""
    found = [block for block in EVERY if block.page == page and not block.file]
    return [block for block in found if block.language != "text" or not block.needs]


def run(
    found: Sequence[Block], folder: Path, models: Mapping[str, Path], before: str = "", after: str = ""
) -> None:  # fmt: skip
    """Runs blocks between code of the test's own, which a reader has already or looks at afterwards.

    Raises:
        AssertionError: one of them fails, or prints something else than the page shows.
    """
    needs = {need for block in found for need in block.needs}
    code = [("python", HAVING_A_TRAINER)] * ("a Trainer" in needs or bool(before)) + [("python", before)] * bool(before)
    code += [(block.language, put(block)) for block in found] + [("python", after)] * bool(after)
    with standing_in(folder, needs, models) as environment:
        done = subprocess.run(
            [sys.executable, "-c", RUNNER], input=json.dumps(code), cwd=folder, env=environment,
            capture_output=True, text=True, check=False, timeout=1200,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
