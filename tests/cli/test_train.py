"""`autopeft train`, `predict`, `export` and `inspect`: JSON on stdout, progress on stderr, one line per error."""

import json
import signal
import subprocess
import sys
import time

import pytest
from numpy.random import default_rng

from tests.finetune.conftest import tuned_for
from tests.inspection.test_inspect import random_pair, write
from tests.toys import classification_csv, completion_jsonl

RUN = "from autopeft.cli.main import main; main()"


def test_train_and_predict(autopeft, tiny_models, tmp_path):
    """Both commands end in JSON that can be parsed, and the second refuses to overwrite."""
    source = classification_csv(tmp_path / "toy.csv", rows=120)
    tuned_for(tiny_models["bert"], source, "classification", epochs=1.0).save(tmp_path / "tuned.yaml")
    command = ("train", tmp_path / "tuned.yaml", "--data", source, "--output", tmp_path / "out")
    done = autopeft(*command, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["steps"] == 12
    assert "Scoring before training" in done.err
    again = autopeft(*command)
    assert again.code == 2
    assert "holds a finished training" in again.err
    asked = ("predict", tmp_path / "out", "--data", source)
    answers = json.loads(autopeft(*asked, "--json").out)
    assert len(answers) == 120
    assert answers[0]["value"] in ("neg", "pos")
    written = autopeft(*asked, "--output", tmp_path / "answers.csv")
    assert written.code == 0, written.err
    assert "exists already" in autopeft(*asked, "--output", tmp_path / "answers.csv").err


@pytest.mark.slow
def test_a_training_that_is_killed_resumes_with_the_same_command(autopeft, tiny_models, tmp_path):
    """A process that ends by SIGKILL leaves a folder from which --resume gives the very weights of an unbroken run."""
    source = classification_csv(tmp_path / "toy.csv")
    tuned_for(tiny_models["bert"], source, "classification", epochs=6.0).save(tmp_path / "tuned.yaml")
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    command = ("train", tmp_path / "tuned.yaml", "--data", source, "--output")
    begun = subprocess.Popen([sys.executable, "-c", RUN, *map(str, (*command, broken))])
    while begun.poll() is None and not list(broken.glob("checkpoints/checkpoint-*")):
        time.sleep(0.05)
    begun.kill()
    assert begun.wait() == -signal.SIGKILL
    assert not (broken / "metrics.json").exists()
    assert autopeft(*command, broken).code == 2
    assert autopeft(*command, broken, "--resume").code == 0
    assert autopeft(*command, whole).code == 0
    one, two = ((folder / "adapter_model.safetensors").read_bytes() for folder in (broken, whole))
    assert one == two


def test_a_config_from_a_newer_schema_is_one_error(autopeft, tmp_path):
    """The version is told before anything is loaded, and no folder is made."""
    (tmp_path / "tuned.yaml").write_text("schema_version: 99\n")
    done = autopeft("train", tmp_path / "tuned.yaml", "--data", "x.csv", "--output", tmp_path / "out")
    assert done.code == 2
    assert done.err.startswith("Error: `schema_version`")
    assert "A newer version needs a newer autopeft" in done.err
    assert not (tmp_path / "out").exists()


def test_inspect(autopeft, tmp_path):
    """A table for a person, everything for a program, and one line for a folder without an adapter."""
    folder = write(tmp_path / "a", {(i, "q_proj"): random_pair(default_rng(i)) for i in range(3)})
    shown = autopeft("inspect", folder)
    assert shown.code == 0, shown.err
    assert "q_proj × 3" in shown.out
    assert "beside these" not in shown.out
    document = json.loads(autopeft("inspect", folder, "--json").out)
    assert [len(layer["spectrum"]) for layer in document["layers"]] == [4, 4, 4]
    drawn = json.loads(autopeft("inspect", folder, "--plots", tmp_path / "plots", "--json").out)
    assert drawn["plots"] == [str(tmp_path / "plots" / f"{name}.svg") for name in ("spectra", "entanglement", "norms")]
    assert document["plots"] == []
    below = autopeft("inspect", folder, "--plots", folder / "adapter_config.json")
    assert (below.code, "is no folder that may be written to" in below.err) == (2, True)
    missing = autopeft("inspect", tmp_path)
    assert missing.code == 2
    assert "holds no adapter" in missing.err


def test_export(autopeft, tiny_models, tmp_path):
    """What the tool cannot express is told in both modes, and a file that exists is left alone."""
    source = completion_jsonl(tmp_path / "pairs.jsonl")
    tuned_for(tiny_models["llama"], source, "instruction").save(tmp_path / "tuned.yaml")
    asked = ("export", tmp_path / "tuned.yaml", "--to")
    shown = autopeft(*asked, "trl")
    assert "lora_r: 4" in shown.out
    assert "The split of the search" in shown.err
    document = json.loads(autopeft(*asked, "llamafactory", "--json").out)
    assert document["unsupported"]
    assert list(document["companions"]) == ["dataset_info.json"]
    target = tmp_path / "factory" / "train.yaml"
    assert autopeft(*asked, "llamafactory", "--output", target).code == 0
    before = target.read_text()
    again = autopeft(*asked, "llamafactory", "--output", target)
    assert again.code == 2
    assert "exists already" in again.err
    other = autopeft(*asked, "llamafactory", "--output", target.with_name("other.yaml"))
    assert "dataset_info.json exists already" in other.err
    assert not target.with_name("other.yaml").exists()
    assert target.read_text() == before
    nowhere = autopeft(*asked, "axolotll")
    assert (nowhere.code, "gguf" in nowhere.err, "'axolotl'" in nowhere.err) == (2, True, True)
    for option in (("--gguf-type", "q8_0"), ("--llama-cpp", tmp_path)):
        refused = autopeft(*asked, "trl", *option)
        assert refused.code == 2
        assert f"`{option[0]}` of an export to trl must be left out but with --to gguf" in refused.err
    below = autopeft(*asked, "trl", "--output", tmp_path / "tuned.yaml" / "trl.yaml")
    assert (below.code, "is no folder that may be written to" in below.err) == (2, True)
    untrained = autopeft("export", tmp_path, "--to", "gguf")
    assert untrained.code == 2
    assert "must be the output of `autopeft train`" in untrained.err


def test_compare(autopeft, tiny_models, tmp_path):
    """Two configs stand side by side, with a sentence on their difference; one alone is an error."""
    source = classification_csv(tmp_path / "toy.csv", rows=120)
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path in paths:
        tuned_for(tiny_models["bert"], source, "classification").save(path)
    shown = autopeft("compare", *paths)
    assert shown.code == 0, shown.err
    assert "chance explains it" in " ".join(shown.out.split())
    assert len(json.loads(autopeft("compare", *paths, "--json").out)["entries"]) == 2
    assert autopeft("compare", paths[0]).code == 2
