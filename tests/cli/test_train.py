"""`autopeft train` and `autopeft predict`: one JSON document on stdout, progress on stderr, one line per error."""

import json

from tests.finetune.conftest import tuned_for
from tests.toys import classification_csv


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


def test_a_config_from_a_newer_schema_is_one_error(autopeft, tmp_path):
    """The version is told before anything is loaded, and no folder is made."""
    (tmp_path / "tuned.yaml").write_text("schema_version: 99\n")
    done = autopeft("train", tmp_path / "tuned.yaml", "--data", "x.csv", "--output", tmp_path / "out")
    assert done.code == 2
    assert done.err.startswith("Error: `schema_version`")
    assert "A newer version needs a newer autopeft" in done.err
    assert not (tmp_path / "out").exists()
