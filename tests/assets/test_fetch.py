"""Assets are checked by hash and appear as a whole or not at all."""

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from autopeft.assets import all_assets, fetch, get_asset
from autopeft.assets._download import FetchError
from autopeft.errors import InvalidValueError

CONTENT = b"an artifact"


@pytest.fixture
def served(monkeypatch):
    """pip and npm serve `CONTENT`; the list collects the commands that were run, pip's with its requirement."""
    commands = []

    def run(command, **_options):
        npm = command[0] == "npm"
        wanted = [] if npm else [Path(command[command.index("--requirement") + 1]).read_text().strip()]
        commands.append([*command, *wanted])
        folder = Path(command[command.index("--pack-destination" if npm else "--dest") + 1])
        (folder / "thing-1.0.whl").write_bytes(CONTENT)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def asset(**changes):
    def unpack(artifact, folder):
        (folder / "data.csv").write_bytes(artifact.read_bytes())

    made = replace(
        get_asset("vader-movies"),
        name="thing",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        result="data.csv",
        unpack=unpack,
    )
    return replace(made, **changes)


def test_an_asset_is_fetched_once_and_announced(served, tmp_path):
    """The first fetch says what, how large and under which licence; the second does nothing."""
    said: list[str] = []
    path = fetch(asset(), tmp_path, said.append)
    assert path.read_bytes() == CONTENT
    assert "2.5 MB" in said[0]
    assert "MIT" in said[0]
    assert fetch(asset(), tmp_path, said.append) == path
    assert len(said) == len(served) == 1
    assert "--no-deps" in served[0]
    assert "--no-binary" in served[0]


def test_pip_is_told_the_hash_of_what_it_may_open(served, tmp_path):
    """A source distribution runs its code as soon as pip opens it, so that pip itself has to refuse another one."""
    wanted = asset()
    fetch(wanted, tmp_path, lambda _: None)
    assert "--require-hashes" in served[0]
    assert served[0][-1] == f"{wanted.requirement} --hash=sha256:{wanted.sha256}"
    assert wanted.requirement not in served[0]


@pytest.mark.parametrize("form", ["sdist", "npm"])
def test_a_wrong_hash_keeps_nothing(served, tmp_path, form):
    """Another file than the expected one is refused, and nothing of it stays."""
    with pytest.raises(FetchError, match=r"SHA-256 .* expected 0000"):
        fetch(asset(sha256="0000", form=form), tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_npm_keeps_its_package_as_a_file(served, tmp_path):
    """Nothing of the package is run, whatever it asks npm to do with it."""
    made = fetch(asset(requirement="thing@1.0", form="npm"), tmp_path, lambda _: None)
    assert made.read_bytes() == CONTENT
    assert served[0][:2] == ["npm", "pack"]
    assert "--ignore-scripts" in served[0]
    assert served[0][-1] == "thing@1.0"


def test_without_npm_its_packages_are_refused(monkeypatch, tmp_path):
    """The error says what is missing, and nothing half-made stays."""

    def run(command, **_options):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(FetchError, match="npm, which is not installed"):
        fetch(asset(requirement="thing@1.0", form="npm"), tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_unpack_keeps_nothing(served, tmp_path):
    """An interruption while unpacking leaves no half-made asset, so that the next fetch starts anew."""

    def interrupted(_artifact, folder):
        (folder / "half").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(asset(unpack=interrupted), tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []
    assert fetch(asset(), tmp_path, lambda _: None).exists()


def test_pip_failing_is_reported_in_its_own_words(monkeypatch, tmp_path):
    """What pip said reaches the user."""
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution")
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_o: failed)
    with pytest.raises(FetchError, match="No matching distribution"):
        fetch(asset(), tmp_path, lambda _: None)


def test_assets_pin_version_hash_and_size():
    """Every shipped asset names an exact version, a full hash, a size and a licence."""
    assets = all_assets()
    assert set(assets) == {
        "minilm", "smollm2", "chatterbot", "newsgroups", "reuters-r8", "spam-assassin", "tweet-entities",
        "vader-amazon", "vader-movies", "vader-nyt", "vader-tweets", "verb-definitions",
    }  # fmt: skip
    for one in assets.values():
        name, _, version = one.requirement.rpartition("@" if one.form == "npm" else "==")
        assert name
        assert version[0].isdigit()
        assert len(one.sha256) == 64
        assert one.download_bytes > 100_000
        assert one.licence


def test_an_unknown_asset_offers_the_closest():
    """A mistyped name is answered with the nearest one."""
    with pytest.raises(InvalidValueError, match="Did you mean 'minilm'"):
        get_asset("minlm")
