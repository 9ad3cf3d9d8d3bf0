"""Nothing that a stranger wrote is run: no code of a model, no pickle, no tag in YAML, no path that leads out."""

import ast
import json
import pickle
import re
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
import yaml

from autopeft.environment import trust_remote_code
from autopeft.errors import AutopeftError, FileFormatError, ModelError
from autopeft.export import export
from autopeft.files import read_yaml
from autopeft.inspection import inspect_adapter
from autopeft.profiling.model import read_model
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.recommend.evidence import read_runs
from autopeft.report import write_report
from autopeft.training.base import load_base
from autopeft.training.language_head import language_head
from autopeft.tuned import TunedConfig
from tests.coded import edit, give_code
from tests.finetune.conftest import tuned_for
from tests.report.folders import begin
from tests.toys import classification_csv

PACKAGE = Path(__file__).parent.parent / "autopeft"
PICKLING = {"cloudpickle", "dill", "joblib", "shelve", "marshal"}
LOADING = {
    ("pickle", "load"), ("pickle", "loads"), ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"),
    ("torch", "load"), ("np", "load"),
}  # fmt: skip
PIPES = (["sys.stdin.buffer"], ["self.process.stdout"])
"""What a search and its own workers send each other is no file that a stranger could have written."""


class Touch:
    """Leaves a mark when a pickle of it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path):
    """A file that only foreign code makes."""
    return tmp_path / "ran"


@pytest.fixture
def folder(tiny_models, tmp_path):
    """A model's folder of the test's own."""
    return Path(shutil.copytree(tiny_models["bert"], tmp_path / "model"))


def loaded(folder):
    profile = read_model(str(folder), "classification", 2)
    return load_base(profile, quantization="none", dtype="float32", head_seed=0, device="cpu")


def test_code_beside_a_model_is_never_run(folder, mark, monkeypatch):
    """Neither config nor tokenizer brings its own code in, not even where somebody would answer yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    edit(folder / "config.json", auto_map={"AutoModelForSequenceClassification": "evil.Model"})
    assert loaded(folder).model.config.model_type == "bert"  # transformers' own class
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}, tokenizer_class="T")
    assert len(load_tokenizer(str(folder))) > 100
    edit(folder / "config.json", model_type="weird", auto_map={"AutoConfig": "evil.Config"})
    with pytest.raises(ModelError, match=r"The tokenizer of .* needs code .*\n.*--trust-remote-code"):
        load_tokenizer(str(folder))
    with pytest.raises(ModelError, match=r"The model .* of type 'weird' needs code .*\n.*--trust-remote-code"):
        read_model(str(folder), "classification", 2)
    assert not mark.exists()


@pytest.fixture
def coded(folder, mark, tmp_path, monkeypatch):
    """A model that only the code beside it can read; the code leaves the mark when it is imported."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("sys.path", [*sys.path])
    return give_code(folder, mark)


def test_code_runs_only_while_it_is_asked_for(coded, mark):
    """Config, model, language head and tokenizer come from the model's code inside the context, not before or after."""
    with pytest.raises(ModelError, match="--trust-remote-code"):
        loaded(coded)
    assert not mark.exists()
    with trust_remote_code():
        base = loaded(coded)
        profile = read_model(str(coded), "classification", 2)
        assert language_head(profile, dtype="float32", device="cpu") is not None
    assert mark.exists()
    assert type(base.model).__name__ == profile.architecture == "CodedForSequenceClassification"
    assert type(base.tokenizer).__name__ == "CodedTokenizer"
    assert (profile.own_code, profile.kind) == (True, "encoder")
    assert profile.tasks == ("classification", "regression", "pair-classification")
    with pytest.raises(ModelError, match="--trust-remote-code"):
        loaded(coded)


def test_changed_code_makes_another_model(coded, tmp_path):
    """What was tuned with one code is refused with another; another tool's file does not grant the leave either."""
    source = classification_csv(tmp_path / "toy.csv")
    with trust_remote_code():
        tuned = tuned_for(coded, source, "classification")
        assert tuned.setup().model.own_code
        exported = export(tuned, "peft")
        assert "tell the tool by its own option" in exported.unsupported[-1]
        assert "trust" not in exported.text
        with (coded / "modeling_coded.py").open("a") as stream:
            stream.write("# changed\n")
        with pytest.raises(ModelError, match=r"(?s)must be the model that was tuned.*code .* may have changed"):
            tuned.setup()


def test_only_the_flag_of_a_run_lets_code_run(coded, mark, autopeft, monkeypatch):
    """A run refuses the model unless it is told otherwise itself, whatever a shell has exported, and says it was."""
    monkeypatch.setenv("AUTOPEFT_TRUST_REMOTE_CODE", "1")
    with pytest.raises(ModelError, match="--trust-remote-code"):
        read_model(str(coded), "classification", 2)
    found = autopeft("profile", "--model", coded)
    assert (found.code, mark.exists()) == (2, False)
    assert "add --trust-remote-code" in found.err
    found = autopeft("profile", "--model", coded, "--trust-remote-code")
    assert (found.code, mark.exists()) == (0, True)
    assert "may run: --trust-remote-code" in found.err
    assert "Code that the model brings along builds it" in " ".join(found.out.split())
    assert autopeft("profile", "--model", coded).code == 2


def test_every_command_that_reads_a_model_can_be_asked():
    """No command that takes a model, or what was tuned from one, is without the flag."""
    from typer.main import get_command

    from autopeft.cli.main import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    asked = {name for name, one in commands.items() if any("--trust-remote-code" in p.opts for p in one.params)}
    assert asked == {"profile", "suggest", "estimate", "search", "train", "predict", "export", "inspect"}


@pytest.mark.slow
def test_code_is_asked_for_anew_from_search_to_prediction(coded, mark, autopeft, tmp_path):
    """The flag reaches the workers' processes and is written down; what it left asks again at every step."""
    data, out = classification_csv(tmp_path / "toy.csv"), tmp_path / "search"
    search = (
        "search", "--model", coded, "--data", data, "--trials", "2", "--trial-tokens", "2000", "--folds", "1",
        "--workers", "2", "--no-evidence", "--output", out,
    )  # fmt: skip
    found = autopeft(*search, "--trust-remote-code")
    assert found.code == 0, found.err
    assert json.loads((out / "search.json").read_text())["identity"]["own_code"] is True
    assert any("brings along" in note for note in json.loads((out / "result.json").read_text())["notes"])
    assert "trust" not in (out / "tuned.yaml").read_text()
    mark.unlink()
    train = ("train", out / "tuned.yaml", "--data", data, "--output", tmp_path / "trained", "--epochs", "0.5")
    predict = ("predict", tmp_path / "trained", "--data", data)
    assert (autopeft(*train).code, mark.exists()) == (2, False)
    assert autopeft(*train, "--trust-remote-code").code == 0
    assert "Code that the model brings along" in (tmp_path / "trained" / "README.md").read_text()
    assert autopeft(*predict).code == 2
    assert autopeft(*predict, "--trust-remote-code").code == 0


def test_pickled_weights_are_read_only_where_that_was_asked_for(folder, mark, monkeypatch):
    """A pickle is refused before it is opened; asked for, the tensors of a true one are read."""
    import torch
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(ModelError, match=r"are pickled.*\nSave them as safetensors, or .* AUTOPEFT_ALLOW_PICKLE=1"):
        loaded(folder)
    assert not mark.exists()
    torch.save(weights, folder / "pytorch_model.bin")
    monkeypatch.setenv("AUTOPEFT_ALLOW_PICKLE", "1")
    assert torch.equal(
        loaded(folder).model.bert.embeddings.word_embeddings.weight, weights["bert.embeddings.word_embeddings.weight"]
    )


def test_an_adapters_base_is_read_without_pickles_too(folder, mark, tmp_path):
    """Inspecting an adapter that has to be merged does not open a pickled base: its own tensors alone are told."""
    import peft
    from transformers import AutoModelForMaskedLM

    dora = peft.LoraConfig(r=2, use_dora=True, target_modules=["query"])
    peft.get_peft_model(AutoModelForMaskedLM.from_pretrained(folder), dora).save_pretrained(tmp_path / "adapter")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Touch(mark)))
    found = inspect_adapter(tmp_path / "adapter", str(folder))
    assert re.search(r"base model .* cannot be loaded", found.notes[0])
    assert not mark.exists()


def test_yaml_makes_no_objects(tmp_path, mark):
    """A tag that would call a function is an error in a config and in any other file that is read."""
    path = tmp_path / "tuned.yaml"
    path.write_text(f"schema_version: !!python/object/apply:os.mkdir [{mark}]\n")
    yaml.unsafe_load(path.read_text())
    mark.rmdir()  # it was there: the tag does what it says where it may
    for read in (TunedConfig.load, read_yaml):
        with pytest.raises(FileFormatError, match="is not valid YAML"):
            read(path)
    assert not mark.exists()


def test_a_study_and_an_evidence_file_are_never_unpickled(tmp_path, mark):
    """A pickle in their place is an error and is not opened; a true study has no column of pickles."""
    evidence = tmp_path / "runs.jsonl"
    evidence.write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(FileFormatError):
        read_runs(evidence)
    begin(tmp_path / "search")
    with sqlite3.connect(tmp_path / "search" / "study.db") as study:
        tables = [name for (name,) in study.execute("select name from sqlite_master where type = 'table'")]
        kinds = {column[2].upper() for table in tables for column in study.execute(f"pragma table_info({table})")}
    assert len(tables) > 5
    assert not kinds & {"BLOB", "PICKLE"}
    (tmp_path / "search" / "study.db").write_bytes(pickle.dumps(Touch(mark)))
    with pytest.raises(AutopeftError):
        write_report(tmp_path / "search")
    assert not mark.exists()


@pytest.mark.parametrize("part", ["../secret.safetensors", "/etc/hosts", "parts/../../secret.safetensors"])
def test_parts_of_a_model_lie_in_its_folder(folder, part):
    """An index that leads out of the folder is refused, also where there is such a file."""
    (folder / "parts").mkdir()
    (folder / "model.safetensors").rename(folder.parent / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": part}}))
    with pytest.raises(ModelError, match="which lies outside its folder"):
        loaded(folder)


def test_a_config_names_no_file_that_is_opened_but_its_model(tiny_models, tmp_path):
    """What its data was called is told, not read: a config from elsewhere opens nothing there."""
    source = classification_csv(tmp_path / "toy.csv")
    tuned = tuned_for(tiny_models["bert"], source, "classification")
    tuned.save(tmp_path / "tuned.yaml")
    source.rename(tmp_path / "moved.csv")
    read = TunedConfig.load(tmp_path / "tuned.yaml")
    assert set(read.prepare(tmp_path / "moved.csv")) == {"train", "validation", "test"}
    assert read.setup().model.source == str(tiny_models["bert"])


def offences(source):
    """What a file of the package must not do: open pickles, load YAML unsafely, trust a model's code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in PICKLING)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {*PICKLING, "pickle"}:
            yield node.module
        elif isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                named, told = (function.value.id, function.attr), [ast.unparse(one) for one in node.args]
                yield from [".".join(named)] if named in LOADING and told not in PIPES else []
            for keyword in node.keywords:
                on = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                yield from [keyword.arg] if on and keyword.arg in ("trust_remote_code", "allow_pickle") else []


def test_no_file_of_the_package_opens_a_pickle_or_trusts_code():
    """The whole package is free of what would let a stranger's file run, and the check bites."""
    for bad in (
        "import dill",
        "from pickle import load",
        "pickle.loads(x)",
        "yaml.load(x)",
        "torch.load(x)",
        "f(trust_remote_code=True)",
    ):
        assert list(offences(bad)), bad
    found = {str(path): list(offences(path.read_text())) for path in PACKAGE.rglob("*.py")}
    assert len(found) > 100
    assert not {path: told for path, told in found.items() if told}
