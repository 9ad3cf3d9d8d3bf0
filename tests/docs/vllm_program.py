"""Stands for the program `vllm` where a page calls it: vLLM's own code, up to where its server would want kernels.

Its own parser takes the command line, its catalogue the model's architecture, and its own loader reads each adapter.
"""

import json
import os
import sys
from pathlib import Path

os.environ["VLLM_TARGET_DEVICE"] = "cpu"
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def main(words):
    """Takes what stands behind `vllm`."""
    from vllm.entrypoints.common.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.model_executor.models import ModelRegistry
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    assert words.pop(0) == "serve"
    asked = make_arg_parser(FlexibleArgumentParser(prog="vllm serve")).parse_args(words)
    validate_parsed_serve_args(asked)
    (architecture,) = json.loads((Path(asked.model_tag) / "config.json").read_text())["architectures"]
    assert architecture in ModelRegistry.get_supported_archs(), architecture
    for module in asked.lora_modules or ():
        assert asked.enable_lora, "adapters are asked for and not enabled"
        print(f"{module.name}: {len(adapter(module.path, asked.max_lora_rank))} weights adapted")


def adapter(folder, most):
    """Returns what vLLM makes of an adapter's folder: by the name of the weight, its pair of factors.

    Raises:
        ValueError: vLLM refuses it.
    """
    from vllm.config.lora import LoRAConfig
    from vllm.lora.lora_model import LoRAModel
    from vllm.lora.peft_helper import PEFTHelper

    helper = PEFTHelper.from_local_dir(str(folder), None)
    helper.validate_legal(LoRAConfig(max_lora_rank=most))
    loras = LoRAModel.from_local_checkpoint(str(folder), LINEAR, helper, device="cpu").loras
    assert loras, "no weight is adapted"
    return loras


if __name__ == "__main__":
    main(sys.argv[1:])
