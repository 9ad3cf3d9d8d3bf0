"""A cache of its own for every test, so that none reads a profile another one wrote."""

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Folder that stands for the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("AUTOPEFT_CACHE", str(folder))
    return folder
