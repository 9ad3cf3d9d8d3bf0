"""Rules of hub names: what lies in the local cache is used as it is, and what the hub refuses is said."""

import shutil
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from autopeft.errors import ModelError
from autopeft.profiling.code import code_hash
from autopeft.profiling.model import read_model


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub's library."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_cached_model_needs_no_network(hub_cache, tiny_models):
    """A model fetched before is read from the cache, with the size of the weights that lie there."""
    folder = hub_cache / "models--some--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    shutil.copytree(tiny_models["bert"], folder / "snapshots" / "abc")
    profile = read_model("some/tiny", "classification")
    local = read_model(str(tiny_models["bert"]), "classification")
    assert (profile.source, profile.weight_bytes) == ("some/tiny", local.weight_bytes)
    assert profile.fingerprint == local.fingerprint


def test_refusal_of_the_hub_is_said(hub_cache, monkeypatch):
    """A name the hub does not know, or does not show, is told apart from a hub that cannot be reached."""
    from huggingface_hub.errors import RepositoryNotFoundError

    def refuse(*_):
        answer: Any = SimpleNamespace(headers={}, request=None)
        raise RepositoryNotFoundError("404 Client Error\nmore", response=answer)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(ModelError, match=r"no config\.json for the model 'some/gone' that may be read: 404 Client Err"):
        read_model("some/gone", "classification")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (
            {
                "model-00001-of-00002.safetensors": 5, "model-00002-of-00002.safetensors": 7,
                "consolidated.safetensors": 12, "pytorch_model.bin": 100, "onnx/model.safetensors": 9,
            },
            ("safetensors", 12),
        ),
        ({"model.safetensors": 8, "model-00001-of-00001.safetensors": 8}, ("safetensors", 8)),
        ({"pytorch_model-00001-of-00001.bin": 6, "training_args.bin": 1, "optimizer.bin": 20}, ("pytorch", 6)),
        ({"adapter_model.safetensors": 3}, ("none", None)),
    ],
)  # fmt: skip
def test_size_on_the_hub_is_asked_for(hub_cache, monkeypatch, tiny_models, names, found):
    """Where only the config was fetched, the size is that of the files that would be loaded: copies do not count."""
    config = hub_cache / "fetched" / "config.json"
    config.parent.mkdir()
    shutil.copy(tiny_models["bert"] / "config.json", config)
    files = [SimpleNamespace(rfilename=name, size=size) for name, size in names.items()]
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: str(config))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(siblings=files))
    profile = read_model("some/model", "classification")
    assert (profile.weight_format, profile.weight_bytes) == found


def test_a_download_that_was_interrupted_can_go_on(hub_cache, monkeypatch, tiny_models):
    """An index whose parts are not all here yet is no broken model: loading it fetches the rest."""
    folder = hub_cache / "models--some--large"
    snapshot = folder / "snapshots" / "abc"
    (folder / "refs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    shutil.copy(tiny_models["bert"] / "config.json", snapshot)
    index = '{"weight_map": {"a": "model-00001-of-00001.safetensors"}}'
    (snapshot / "model.safetensors.index.json").write_text(index)
    files = [SimpleNamespace(rfilename="model-00001-of-00001.safetensors", size=11)]
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: SimpleNamespace(siblings=files))
    profile = read_model("some/large", "classification")
    assert (profile.weight_format, profile.weight_bytes) == ("safetensors", 11)


@pytest.mark.parametrize("failure", [ConnectionError("offline"), HTTPError("no route")])
def test_size_unknown_offline(hub_cache, monkeypatch, tiny_models, failure):
    """A hub that cannot be asked for the size leaves it unknown."""

    def fail(*_, **__):
        raise failure

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", fail)
    config = hub_cache / "fetched" / "config.json"
    config.parent.mkdir()
    shutil.copy(tiny_models["bert"] / "config.json", config)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: str(config))
    profile = read_model("some/model", "classification")
    assert (profile.weight_format, profile.weight_bytes) == ("none", None)


def test_code_of_other_repositories_counts_too(tmp_path, monkeypatch):
    """The hash covers the model's own files and those of each repository that its classes are taken from."""
    places = {"some/model": tmp_path / "own", "other/code": tmp_path / "other"}
    for place in places.values():
        place.mkdir()
        (place / "modeling.py").write_text("A = 1\n")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, allow_patterns: str(places[name]))
    config = {"auto_map": {"AutoConfig": "modeling.C", "AutoTokenizer": ["other/code--modeling.T", None]}}

    def hashed():
        return code_hash("some/model", tmp_path / "cache", config)

    seen = [hashed()]
    for place in places.values():
        (place / "modeling.py").write_text("A = 2\n")
        seen.append(hashed())
    assert len(set(seen)) == 3

    def refuse(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(ModelError, match=r"code of some/model cannot be fetched from the hub: no route"):
        hashed()
