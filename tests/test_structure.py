"""The house keeps its shape: imports point one way, the command line stays light, method names stay at home."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "autopeft"

# From left to right: a room imports only from rooms to its left. Rooms on one line do not import each other.
ORDER = [
    {"errors", "resources", "discovery", "environment", "fronts"},
    {"values"},
    {"files"},
    {"tasks", "quantization", "optimizers", "schedules", "methods", "assets"},
    {"data"},
    {"profiling"},
    {"estimation"},
    {"recommend"},
    {"training"},
    {"tuned"},
    {"tuning"},
    {"report"},
    {"finetune", "export", "inspection"},
    {"comparison", "integration"},
    {"api"},
    {"testing"},
    {"cli"},
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
HEAVY = {"torch", "transformers", "peft", "datasets", "bitsandbytes", "sklearn", "scipy", "pandas", "optuna", "numpy"}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")


def room_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_rooms(path):
    """Rooms of the package that a file imports, with the line of the import."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("autopeft."):
            yield node.module.split(".")[1], node.lineno
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("autopeft."):
                    yield name.name.split(".")[1], node.lineno


def test_every_room_has_a_place_in_the_order():
    """A new folder has to be placed before it can be imported."""
    assert {room_of(path) for path in modules()} <= set(RANK)
    assert len(modules()) > 60


def test_imports_point_one_way():
    """A room never imports from a room to its right, nor from its neighbour."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {room}"
        for path in modules()
        for room, line in imported_rooms(path)
        if room != room_of(path) and RANK[room] >= RANK[room_of(path)]
    ]
    assert wrong == []


def test_method_names_stay_in_their_package():
    """Nothing outside autopeft/methods/ branches on a method: no string literal is a method's name."""
    names = {p.stem for p in (PACKAGE / "methods").glob("*.py") if not p.stem.startswith("_")}
    assert len(names) >= 15
    # "full" is a word, and the recipe's key in the result is part of the published interface.
    pattern = re.compile(rf"""["']({"|".join(sorted(names - {"full"}))})["']""")
    outside = [path for path in modules() if room_of(path) != "methods"]
    wrong = [f"{p.relative_to(PACKAGE)}: {m.group()}" for p in outside for m in pattern.finditer(p.read_text())]
    assert wrong == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["search", "--help"], ["suggest", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    """Help and version answer without torch, transformers, peft, optuna or numpy."""
    code = (
        "import sys; sys.argv = ['autopeft', *sys.argv[1:]]\n"
        "from autopeft.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"heavy = sorted({HEAVY!r} & set(sys.modules))\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_there():
    """What the README imports from the top level exists, and an unknown name is an AttributeError."""
    import autopeft

    for name in autopeft.__all__:
        assert getattr(autopeft, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'serch'"):
        _ = autopeft.serch
