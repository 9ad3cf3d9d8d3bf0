"""What the command line can ask of a search, Python can."""

from pathlib import Path

import pytest

import autopeft
from autopeft.tuning import session


class AskedError(Exception):
    """Ends a search before it begins."""


def test_a_search_is_asked_in_python_as_on_the_command_line(monkeypatch, tmp_path):
    """Options that the request and its spread have fields for reach them under their names."""
    asked: dict[str, object] = {}

    def run_search(request, output, stops, *, resume, observer, spread):
        asked.update(vars(request), **vars(spread), output=output, seconds=stops.seconds)
        raise AskedError

    monkeypatch.setattr(session, "run_search", run_search)
    given = {
        "token_limit": 64, "class_weights": True, "max_trainable": "1%", "folds": 2, "repeats": 3, "seed": 4,
        "gpus": ("0", "1"), "workers": 2, "study": "mine", "objectives": ("quality", "memory"), "metric": "mcc",
        "seconds": 90.0,
    }  # fmt: skip
    with pytest.raises(AskedError):
        autopeft.search("m", "d", output=tmp_path, search_spaces="spaces", keep_evidence=False, show=False, **given)  # type: ignore[arg-type]
    assert {key: asked[key] for key in given} == given
    assert (asked["spaces"], asked["teach"], asked["output"]) == (Path("spaces"), False, tmp_path)
