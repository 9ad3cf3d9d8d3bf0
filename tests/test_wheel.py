"""The wheel carries the data folders, and works where there is no checkout."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 640,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 1000,
}  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("autopeft-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds the installed wheel and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["search_spaces", "profiles"])
def test_the_wheel_carries_the_data_folders(wheel, name):
    """Every file of the repository's data folder is in the wheel, byte for byte, and no other."""
    files = {path.relative_to(ROOT / name).as_posix(): path.read_bytes() for path in (ROOT / name).rglob("*")
             if path.is_file()}  # fmt: skip
    prefix = f"autopeft/_data/{name}/"
    with zipfile.ZipFile(wheel) as archive:
        packed = {n.removeprefix(prefix): archive.read(n) for n in archive.namelist() if n.startswith(prefix)}
    assert len(files) > 10
    assert packed == files


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    """Every module, the typing marker and what modules read are there; tests, caches and results are not."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and "/_data/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "autopeft").rglob("*.py")}
    read = {"autopeft/report/style.css", "autopeft/training/general_text.txt"}
    assert names == modules | read | {"autopeft/py.typed"}


def _outside(installed, folder, program, *arguments):
    """Runs a program in a folder of its own with the installed wheel ahead of everything else."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "AUTOPEFT_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_works_from_another_folder(installed, tmp_path):
    """A suggestion for a folder with only a config needs nothing of the checkout: data come from the wheel."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(LLAMA))
    where = _outside(
        installed, tmp_path,
        "import autopeft, autopeft.resources as r; print(autopeft.__file__, r.search_spaces(), r.profiles())",
    )  # fmt: skip
    assert where.returncode == 0, where.stderr
    assert all(Path(part).is_relative_to(installed) for part in where.stdout.split())
    options = ("--model", model, "--task", "classification", "--gpu", "rtx-3090", "--json")
    found = _outside(installed, tmp_path, "from autopeft.cli.main import main; main()", "suggest", *options)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["hardware"]["source"] == "catalogue"
    assert len({candidate["method"] for candidate in told["candidates"]}) > 5


def test_the_installed_command_searches_its_own_spaces(installed, tmp_path):
    """The catalogue's pages read the search spaces that the wheel carries."""
    found = _outside(installed, tmp_path, "from autopeft.cli.main import main; main()", "methods", "lora", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["parameters"]["rank"]["searched"]
