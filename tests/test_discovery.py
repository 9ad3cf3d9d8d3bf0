"""Plug-ins are found by walking their package; a file that declares nothing, or a name twice, is refused."""

import sys

import pytest

from autopeft.discovery import discover
from autopeft.values.plans import Plan

FILES = {
    "good": {"one": "from types import SimpleNamespace as S\nTHING = S(name='one')", "_shared": "raise SystemExit"},
    "missing": {"empty": "OTHER = 1"},
    "twice": {
        "a": "from types import SimpleNamespace as S\nTHING = S(name='same')",
        "b": "from types import SimpleNamespace as S\nTHING = S(name='same')",
    },
}


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    import importlib

    name = f"plugins_{request.param}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for stem, text in FILES[request.param].items():
        (folder / f"{stem}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module(name)
    for loaded in [key for key in sys.modules if key.startswith(name)]:
        del sys.modules[loaded]


@pytest.mark.parametrize("package", ["good"], indirect=True)
def test_public_modules_are_found_and_private_ones_left_alone(package):
    """Every public file is a plug-in; a leading underscore keeps a file out, and it is not even imported."""
    from types import SimpleNamespace

    assert list(discover(package, "THING", SimpleNamespace)) == ["one"]


@pytest.mark.parametrize("package", ["missing"], indirect=True)
def test_a_file_without_declaration_is_a_defect(package):
    """A forgotten declaration is found at once and named."""
    with pytest.raises(TypeError, match=r"plugins_missing\.empty must declare THING as a Plan"):
        discover(package, "THING", Plan)


@pytest.mark.parametrize("package", ["twice"], indirect=True)
def test_a_name_is_declared_once(package):
    """Two files cannot declare one name."""
    from types import SimpleNamespace

    with pytest.raises(ValueError, match="'same', which another file declares too"):
        discover(package, "THING", SimpleNamespace)
