"""A search takes TRL's trainer too, which prepares its rows and computes its loss by itself."""

import subprocess
import sys

import pytest

from tests.environments import TOOLS, installed
from tests.export.test_real_tools import PACKAGES

RUN = """
import sys
folder, output, trl_folder = sys.argv[1:]
sys.path.append(trl_folder)
import datasets, transformers, trl, autopeft
rows = datasets.Dataset.from_list([{"prompt": f"question {i}", "completion": f" answer {i % 7}"} for i in range(64)])
trainer = trl.SFTTrainer(
    model=transformers.AutoModelForCausalLM.from_pretrained(folder),
    args=trl.SFTConfig(output, max_steps=4, per_device_train_batch_size=8, report_to="none", disable_tqdm=True,
                       use_cpu=True, bf16=False, max_length=64, save_strategy="no"),
    train_dataset=rows, eval_dataset=rows.select(range(16)),
    processing_class=transformers.AutoTokenizer.from_pretrained(folder),
)
best = autopeft.hyperparameter_search(trainer, n_trials=2, exclude=("full",))
print("found", best.metric, best.tuned.model.task, *(outcome.status for outcome in best.outcomes))
"""


@pytest.mark.slow
def test_the_trainer_of_trl_is_searched_with(tiny_models, tmp_path):
    """Methods are attached to the model of an SFTTrainer, trained by it and taken off again."""
    trl = installed(TOOLS / "trl", PACKAGES["trl"])
    command = [sys.executable, "-c", RUN, tiny_models["llama"], tmp_path, trl]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "found eval_loss generation completed" in done.stdout
