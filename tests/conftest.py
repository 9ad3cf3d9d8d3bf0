"""Fixtures shared by all tests: tiny models on disk, the command line, and the switch for slow tests."""

import contextlib
import io
import os
import sys
from types import SimpleNamespace

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import pytest
from hypothesis import HealthCheck, settings

from autopeft.cli.main import main
from autopeft.testing.models import ARCHITECTURES, tiny_model_folder

# On a machine that others use too, seconds say nothing about a test.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def pytest_collection_modifyitems(items):
    if os.environ.get("AUTOPEFT_SLOW") == "1":
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: runs with AUTOPEFT_SLOW=1"))


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """Keeps tests out of the user's own data and cache, child processes included."""
    os.environ["AUTOPEFT_DATA"] = str(tmp_path_factory.mktemp("data"))
    os.environ["AUTOPEFT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory):
    """Folder of each tiny architecture: weights, config and tokenizer."""
    root = tmp_path_factory.mktemp("models")
    return {name: tiny_model_folder(name, root / name) for name in ARCHITECTURES}


@pytest.fixture
def autopeft(monkeypatch, tmp_path):
    """Calls `autopeft ARGUMENTS` and returns its exit code, stdout and stderr; other exceptions pass through."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / "profiles"))
    monkeypatch.setenv("AUTOPEFT_DATA", str(tmp_path / "data"))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["autopeft", *map(str, arguments)])
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code: int | str = 0
            except SystemExit as end:
                code = end.code or 0
        return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())

    return call
