"""A small search to ask for, and a store of measured runs that no other module writes to."""

import os

import pytest

from autopeft.tuning.prepare import Request
from autopeft.values.candidates import Constraints
from tests.toys import classification_csv

METHODS = ("lora", "ia3", "bitfit", "houlsby_adapter", "prompt_tuning")


@pytest.fixture(scope="module")
def request_(tmp_path_factory, tiny_models):
    """A search on a tiny encoder and 240 rows, without folds."""
    source = classification_csv(tmp_path_factory.mktemp("data") / "toy.csv")
    constraints = Constraints(methods=METHODS)
    return Request(model=str(tiny_models["bert"]), data=str(source), tokens=1500, folds=1, constraints=constraints)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store of measured runs of this module's own."""
    folder = tmp_path_factory.mktemp("data")
    before = os.environ.get("AUTOPEFT_DATA")
    os.environ["AUTOPEFT_DATA"] = str(folder)
    yield folder / "evidence.jsonl"
    os.environ.pop("AUTOPEFT_DATA") if before is None else os.environ.update(AUTOPEFT_DATA=before)
