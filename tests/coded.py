"""A model that only the code beside it can read."""

import json
from pathlib import Path

CODE = """
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, PreTrainedTokenizerFast

open({mark!r}, "w").close()


class CodedConfig(BertConfig):
    model_type = "coded"


class CodedForMaskedLM(BertForMaskedLM):
    config_class = CodedConfig


class CodedForSequenceClassification(BertForSequenceClassification):
    config_class = CodedConfig


class CodedTokenizer(PreTrainedTokenizerFast):
    pass
"""


def give_code(folder: Path, mark: Path) -> Path:
    """Makes a tiny encoder one that brings its code along, which leaves the mark when it is imported."""
    (folder / "modeling_coded.py").write_text(CODE.format(mark=str(mark)))
    edit(folder / "config.json", model_type="coded", auto_map={
        "AutoConfig": "modeling_coded.CodedConfig",
        "AutoModelForMaskedLM": "modeling_coded.CodedForMaskedLM",
        "AutoModelForSequenceClassification": "modeling_coded.CodedForSequenceClassification",
    })  # fmt: skip
    tokenizer = {"AutoTokenizer": [None, "modeling_coded.CodedTokenizer"]}
    edit(folder / "tokenizer_config.json", auto_map=tokenizer, tokenizer_class="CodedTokenizer")
    return folder


def edit(path: Path, **changes: object) -> None:
    """Changes keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
