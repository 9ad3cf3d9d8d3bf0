"""Every exported file goes through the parser of the tool itself, at the version that the target names.

Each tool lies in a folder of its own, without its dependencies but those that its parser imports; torch and
transformers are this environment's.
"""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from autopeft.errors import InvalidValueError
from autopeft.export import all_targets, export
from tests.environments import TOOLS, installed
from tests.export.test_told import OPENAI, SHAREGPT, chats, of
from tests.finetune.conftest import LORA, tuned_for
from tests.toys import completion_jsonl

pytestmark = pytest.mark.slow

SHARED = (
    "omegaconf==2.4.0", "antlr4-python3-runtime==4.9.3", "pillow", "addict", "art", "fire", "termcolor", "einops",
    "sentencepiece", "tiktoken", "regex", "blobfile", "kagglehub", "torchao==0.9.0", "marshmallow==3.26.1",
    "marshmallow-dataclass", "typing-inspect", "mypy-extensions", "dataclasses-json", "jsonschema",
    "jsonschema-specifications", "referencing", "rpds-py", "attrs", "xmltodict", "tabulate", "h5py", "torchmetrics",
    "lightning-utilities", "retry", "decorator", "py", "torchinfo", "tensorboard", "absl-py",
)  # fmt: skip
PACKAGES = {
    "trl": "trl==1.16.0",
    "axolotl": "axolotl==0.19.0",
    "llamafactory": "llamafactory==0.9.5",
    "unsloth": "unsloth==2026.10.9",
    "torchtune": "torchtune==0.6.1",
    "ludwig": "ludwig==0.11.0",
}
PARSERS = {
    "trl": """
from trl import ModelConfig, ScriptArguments, SFTConfig, TrlParser
from trl.scripts.utils import DatasetMixtureConfig
kinds = (ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig)
_, training, model, _ = TrlParser(kinds).parse_args_and_config(["--config", path])
if isinstance(model.lora_target_modules, str):  # as it hands a list of one to peft
    assert re.fullmatch(model.lora_target_modules, "transformer.h.0.attn.c_attn")
rate, rank = training.learning_rate, model.lora_r
""",
    "axolotl": """
from axolotl.utils.schemas.config import AxolotlInputConfig
raw = yaml.safe_load(open(path))
read = AxolotlInputConfig(**raw)
assert not set(raw) - set(AxolotlInputConfig.model_fields)
rate, rank = read.learning_rate, read.lora_r
""",
    "llamafactory": """
import os
os.environ["DISABLE_VERSION_CHECK"] = "1"  # it names the versions of libraries that it was released with
from llamafactory.hparams import get_train_args
_, _, training, method, _ = get_train_args(yaml.safe_load(open(path)))
rate, rank = training.learning_rate, method.lora_rank
""",
    "unsloth": """
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("unsloth_config", pathlib.Path(sys.path[0]) / "unsloth_cli" / "config.py")
module = importlib.util.module_from_spec(spec)
sys.modules["unsloth_config"] = module
spec.loader.exec_module(module)  # the file alone: its package starts a GPU
read = module.Config.model_validate(yaml.safe_load(open(path)))
rate, rank = read.training.learning_rate, read.lora.lora_r
""",
    "torchtune": """
from omegaconf import OmegaConf
from torchtune import config
read = OmegaConf.load(path)
config.validate(read)
if not read.model.quantize_base:
    model = config.instantiate(read.model)
    wanted = 3 * (len(read.model.lora_attn_modules) + 3 * read.model.apply_lora_to_mlp)
    assert sum("lora_a" in name for name, _ in model.named_parameters()) == wanted
rate, rank = read.optimizer.lr, read.model.lora_rank
""",
    "ludwig": """
import importlib.abc, importlib.machinery
from unittest.mock import MagicMock
class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):  # what reads pictures and sound is not needed
    def find_spec(self, name, where, target=None):
        if name.split(".")[0] in ("torchaudio", "torchvision"):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        module = MagicMock(__spec__=spec, __path__=[], __version__="9.9")
        module.__name__ = spec.name
        return module
    def exec_module(self, module):
        pass
sys.meta_path.append(Absent())
from ludwig.schema.model_types.base import ModelConfig
read = ModelConfig.from_dict(yaml.safe_load(open(path)))
rate, rank = read.trainer.learning_rate, read.adapter.r if read.adapter else None
""",
}
READ_ALL = """
import os, re, sys, yaml
sys.path.insert(0, {own!r})
sys.path.append({shared!r})
for path, tuned_rate, tuned_rank in {cases!r}:
    print(path, flush=True)
    os.chdir(os.path.dirname(path))
    exec({parser!r})
    assert float(rate) == tuned_rate, rate
    assert tuned_rank is None or rank == tuned_rank, rank
"""
"""Reads all variants in one process: a tool takes longer to import than its parser to run."""
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "quantized": {"quantization": "nf4", "gradient_checkpointing": True, "targets": "qv", "method": "dora"},
    "layers": {"optimizer": "lora_plus", "targets": "qv", "layers": "last:2", "method": "rslora"},
    "full": {"method": "full", "parameters": {}, "targets": "none", "learning_rate": 1e-5},
    "projected": {
        "method": "full", "parameters": {}, "targets": "none", "learning_rate": 1e-5, "optimizer": "galore",
    },
    "cosine": {"schedule": "cosine", "quantization": "nf4-double"},
}  # fmt: skip
LACKING = {
    "torchtune": {"full", "projected", "one target"},
    "ludwig": {"text", "lines", "chats", "older chats"},
}
"""What a tool has no file for."""


@pytest.fixture(scope="module")
def configs(tiny_models, tmp_path_factory):
    """A tuned config for each variant of the candidate and of the data."""
    folder = tmp_path_factory.mktemp("data")
    data = completion_jsonl(folder / "pairs.jsonl")
    (folder / "reviews.jsonl").write_text('{"review": "a good film"}\n')
    (folder / "lines.txt").write_text("a good film\n")
    base = tuned_for(tiny_models["llama"], data, "instruction", replace(LORA, targets="all-linear"))
    return {
        **{name: replace(base, candidate=replace(base.candidate, **change)) for name, change in VARIANTS.items()},
        "text": of(base, folder / "reviews.jsonl", text="review"),
        "lines": of(base, folder / "lines.txt", text="text"),
        "chats": of(base, chats(folder / "openai.jsonl", OPENAI), messages="messages"),
        "older chats": of(base, chats(folder / "older.jsonl", SHAREGPT, "conversations"), messages="conversations"),
        "one target": tuned_for(tiny_models["gpt2"], data, "generation", replace(LORA, targets="c_attn")),
    }


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_the_tool_takes_its_file(name, configs, tmp_path):
    """The tool's own parser reads every variant, with the rate and the rank that the config says."""
    assert PACKAGES[name].partition("==")[2].startswith(all_targets()[name].schema)
    own, shared = installed(TOOLS / name, PACKAGES[name]), installed(TOOLS / "shared", *SHARED)
    cases = []
    for variant, tuned in configs.items():
        if variant in LACKING.get(name, ()):
            with pytest.raises(InvalidValueError, match=f"of a config for {all_targets()[name].title} must be"):
                export(tuned, name)
            continue
        path = _written(export(tuned, name), tmp_path / variant, all_targets()[name].file)
        cases.append((str(path), tuned.candidate.learning_rate, tuned.candidate.parameters.get("rank")))
    assert len(cases) == len(configs) - len(LACKING.get(name, ())) >= 3
    code = READ_ALL.format(own=str(own), shared=str(shared), cases=cases, parser=PARSERS[name])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"


def _written(made, folder, file):
    """Writes an export with its companions as the command does, and returns the path of its file."""
    folder.mkdir()
    for companion, text in made.companions.items():
        (folder / companion).write_text(text)
    (folder / file).write_text(made.text)
    return folder / file
