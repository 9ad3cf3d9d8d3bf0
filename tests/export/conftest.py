"""A tuned config of a decoder on prompts and completions, which every tool for language models takes."""

from dataclasses import replace

import pytest

from tests.finetune.conftest import LORA, tuned_for
from tests.toys import completion_jsonl


@pytest.fixture(scope="session")
def writer(tiny_models, tmp_path_factory):
    data = completion_jsonl(tmp_path_factory.mktemp("data") / "pairs.jsonl")
    candidate = replace(LORA, targets="qv", quantization="nf4", gradient_checkpointing=True, dtype="bfloat16")
    return tuned_for(tiny_models["llama"], data, "instruction", candidate)
