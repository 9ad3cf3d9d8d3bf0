"""An adapter goes up with its card, privately, in one commit; the token is sent and told to nobody else."""

import json
from pathlib import Path

import pytest

from autopeft.errors import InvalidValueError, ModelError, StudyError
from autopeft.finetune.public import shared_name
from autopeft.finetune.push import HubError, push
from autopeft.methods._codes import START_FILE
from autopeft.tuned import TunedConfig
from tests.finetune.fake_hub import fake_hub

TOKEN = "hf_" + "kRtWq" * 7


@pytest.fixture
def hub(monkeypatch):
    """A hub that huggingface_hub takes for the real one, and a token for it."""
    from huggingface_hub import constants

    with fake_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def adapter(tmp_path):
    """An adapter's folder as a training leaves it, with what must stay at home beside it."""
    folder = tmp_path / "trained"
    (folder / "merged").mkdir(parents=True)
    (folder / "merged" / "model.safetensors").write_bytes(b"large")
    (folder / "README.md").write_text("---\nlibrary_name: peft\n---\n# An adapter\n")
    (folder / "adapter_config.json").write_text('{"peft_type":"LORA", "base_model_name_or_path":"a/hub-name"}')
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "optimizer.pt").write_bytes(b"a pickle")
    (folder / ".lock").touch()
    return folder


def test_an_adapter_goes_up_with_its_card(hub, adapter):
    """Weights, config and card arrive as they are, in a private repository; merged models and pickles do not."""
    (adapter / "metrics.json").write_text('{"of": "another tool"}')
    pushed = push(adapter, "reviews")
    assert hub.repositories["me/reviews"]["visibility"] == "private"
    sent = {"README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.json"}
    assert set(hub.files) == sent == set(pushed.files)
    assert {name: (adapter / name).read_bytes() for name in sent} == hub.files
    assert (pushed.address, pushed.private) == (f"{hub.url}/me/reviews", True)
    assert hub.tokens - {""} == {f"Bearer {TOKEN}"}
    (adapter / "README.md").write_text("---\nlibrary_name: peft\n---\n# A better card\n")
    again = push(adapter, "me/reviews", public=True)
    assert again.private is None  # what is there keeps its visibility
    assert b"A better card" in hub.files["README.md"]
    assert push(adapter, "team/reviews", public=True).private is False
    assert hub.repositories["team/reviews"]["visibility"] == "public"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_falters_makes_nothing_public(hub, adapter, status):
    """An answer that says nothing of the repository ends the upload: a second try would forget who may see it."""
    hub.falters = [status]
    with pytest.raises(HubError, match=f"it answered {status}"):
        push(adapter, "reviews")
    assert (hub.repositories, hub.files) == ({}, {})


def test_a_repository_is_private_however_often_it_is_asked_for(hub, adapter):
    """One that turns out not to be there is made as it was asked for; one that may not be made again is written to."""
    hub.falters = [409]
    push(adapter, "reviews")
    assert hub.repositories["me/reviews"]["visibility"] == "private"
    hub.falters = [403]
    assert push(adapter, "reviews").private is None


def test_the_token_is_never_told(hub, adapter, autopeft):
    """A server that repeats the token in its refusal does not bring it to the terminal; exit code 2, one error."""
    hub.refusal = 403
    done = autopeft("push", adapter, "--repo", "me/reviews")
    assert done.code == 2
    assert "may not write there" in done.err
    assert "***" in done.err
    assert TOKEN not in done.out + done.err
    hub.refusal = None
    shown = autopeft("push", adapter, "--repo", "me/reviews", "--json")
    assert shown.code == 0, shown.err
    assert TOKEN not in shown.out + shown.err


def test_a_file_that_holds_the_token_stays_at_home(hub, adapter):
    """Nothing is uploaded where a text holds the token that it would be uploaded with."""
    (adapter / "notes.txt").write_text(f"export HF_TOKEN={TOKEN}")
    with pytest.raises(ModelError, match=r"notes\.txt holds your token") as caught:
        push(adapter, "reviews")
    assert TOKEN not in str(caught.value)
    assert hub.requests == []


def test_no_hub_and_no_token_are_one_sentence_each(hub, adapter, monkeypatch):
    """Offline mode, a hub that does not answer, no token, and a name that is none are clear errors."""
    from huggingface_hub import constants

    with pytest.raises(InvalidValueError, match="must be NAME or ORGANISATION/NAME; got 'a/b/c'"):
        push(adapter, "a/b/c")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(HubError, match=r"cannot be reached: .*\nNothing was uploaded"):
        push(adapter, "reviews")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="switched off by HF_HUB_OFFLINE"):
        push(adapter, "reviews")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(adapter / "none"))
    with pytest.raises(HubError, match="There is no token"):
        push(adapter, "reviews")
    assert hub.files == {}


def test_what_is_no_finished_adapter_is_refused(hub, adapter):
    """A folder without weights, without a card, or with a training that has not ended is not uploaded."""
    (adapter / "run.json").write_text("{}")
    with pytest.raises(StudyError, match="has not ended"):
        push(adapter, "reviews")
    (adapter / "run.json").unlink()
    (adapter / "README.md").unlink()
    with pytest.raises(ModelError, match="has no card"):
        push(adapter, "reviews")
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="holds no adapter"):
        push(adapter, "reviews")
    with pytest.raises(ModelError, match="is no folder"):
        push(adapter / "none", "reviews")
    assert hub.requests == []


def test_a_training_goes_up_whole(hub, finished, tmp_path):
    """The card of a training is one that the hub takes, a base on this machine too, and a copy can predict."""
    push(finished.output, "reviews")
    assert {"README.md", "tuned.yaml", "metrics.json", "adapter_model.safetensors", "tokenizer.json"} <= set(hub.files)
    assert not {"run.json", "merged"} & set(hub.files)
    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
    here, there = (TunedConfig.load(Path(folder) / "tuned.yaml") for folder in (finished.output, tmp_path))
    assert (there.candidate, there.training, there.model.fingerprint) == (
        here.candidate, here.training, here.model.fingerprint,
    )  # fmt: skip


def test_no_path_of_this_machine_goes_up(hub, finished, tmp_path, monkeypatch):
    """Whatever names a model or data by its place here says its last part, with which no hub's model is meant."""
    home = Path(finished.output)
    assert str(tmp_path.parent) in "".join(path.read_text() for path in home.glob("*.json"))
    push(home, "reviews")
    said = {name: body.decode() for name, body in hub.files.items() if not name.endswith(".safetensors")}
    places = [str(home), str(home.parent), str(tmp_path.parent), str(Path.home()), str(Path.cwd()), home.parent.name]
    assert not {(name, place) for name, text in said.items() for place in places if place in text}
    assert json.loads(said["adapter_config.json"])["base_model_name_or_path"] == "./bert"
    (tmp_path / "tuned.yaml").write_text(said["tuned.yaml"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"'\./bert' is neither a folder nor a file here"):
        TunedConfig.load("tuned.yaml").setup()


def test_a_start_says_no_path_either(hub, adapter, tmp_path):
    """The config of a start that no plain adapter is, which has a name of its own, is cut like any other."""
    (adapter / START_FILE).write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(tmp_path)}))
    push(adapter, "reviews")
    assert json.loads(hub.files[START_FILE])["base_model_name_or_path"] == f"./{tmp_path.name}"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (".cache/minilm", "minilm"),
        ("../clients/acme/contracts.csv", "contracts.csv"),
        ("acme/contracts.jsonl", "contracts.jsonl"),
        ("~/acme/model", "model"),
        ("models/acme.gguf", "acme.gguf"),
        ("clients/acme/contracts", "contracts"),
        ("meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B"),
        ("glue#sst2", "glue#sst2"),
    ],
)
def test_a_path_is_one_where_nothing_lies_too(given, shown):
    """What is pushed from another folder, or after the data has moved, still goes by its last part."""
    assert shared_name(given) == shown
