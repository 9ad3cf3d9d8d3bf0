"""Runs the command line in this process, as `autopeft` on a terminal of 80 columns would."""

import contextlib
import io
import sys
from types import SimpleNamespace

import pytest

from autopeft.cli.main import main


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
