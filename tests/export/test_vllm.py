"""vLLM's own loader takes the adapters that the catalogue says it takes, and reads the very update out of them."""

import os
import subprocess

import pytest

from autopeft.methods import all_methods
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached, train
from autopeft.testing.cases import make_case
from tests.environments import ROOT, vllm_interpreter

TAKEN = sorted(
    name
    for name, method in all_methods().items()
    if "vllm" in method.capabilities.servers and not method.capabilities.trains_base
)
READ = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from tests.docs.vllm_program import adapter
for folder in map(Path, sys.argv[1:]):
    expected, read = load_file(f"{folder}.safetensors"), adapter(folder, 64)
    assert set(read) == set(expected), (folder, set(read) ^ set(expected))
    for name, lora in read.items():
        product = lora.scaling * lora.lora_b @ lora.lora_a
        assert product.abs().max() > 0
        assert torch.allclose(product, expected[name], atol=1e-5), (folder, name)
print("read", len(sys.argv) - 1)
"""


def saved(name, model, task, folder):
    """Trains a method for a moment, saves it as a training does, and beside it what it added to each weight."""
    from safetensors.torch import save_file

    method = all_methods()[name]
    case = make_case(method, "llama", task, model, read_model)
    adapted = attached(method, case)
    train(method, adapted, case)
    method.save(adapted, folder)
    assert method.merge is not None
    before, after = case.build().state_dict(), method.merge(adapted).state_dict()
    added = {key: after[key] - before[key] for key in before if key.endswith("_proj.weight")}
    save_file({key.removesuffix(".weight"): value for key, value in added.items()}, f"{folder}.safetensors")
    return folder


@pytest.mark.slow
def test_adapters_are_read_as_they_were_trained(tiny_models, tmp_path):
    """Rank, scaling and factors that vLLM takes from a folder multiply to what the method added to the weights."""
    assert {"lora", "rslora", "pissa"} <= set(TAKEN)
    folders = [
        saved(name, tiny_models["llama"], task, tmp_path / f"{name}-{task}")
        for name in TAKEN
        for task in ("generation", "classification")
    ]
    done = subprocess.run(
        [str(vllm_interpreter()), "-c", READ, *map(str, folders)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"read {len(folders)}" in done.stdout
