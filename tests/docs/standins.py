"""What stands in for all that a reader of a page has and a test has not: models of the hub, servers, several GPUs."""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from autopeft.assets import fetch, get_asset
from tests.coded import give_code
from tests.docs.blocks import ROOT, Block
from tests.environments import TRACKERS, converter_folder, interpreter, ray_folder, vllm_interpreter
from tests.finetune.fake_hub import fake_hub
from tests.report.folders import begin, complete, finish, gap
from tests.toys import classification_csv, completion_jsonl
from tests.tuning import database

Environment = dict[str, str]

SHORT = "--trials 2 --trial-tokens 400 --folds 1 --methods lora"
WORDS: Mapping[str, Mapping[str, str]] = {
    "minutes": {
        r" --repeats \d+": "",
        r"--time \w+": SHORT,
        r"--probe \w+": "--probe 5s",
        r"\.cache/vader-movies/reviews\.csv": "mine.csv",
        r"autopeft train": "autopeft train --epochs 0.1",
        r"autopeft search …": f"autopeft search --model $(ls -d meta-llama/*1B) --data reviews.csv {SHORT} "
        '--output "$(mktemp -d -p .)"',
        r"(?m)^make (\w+)": r"make --dry-run \1",
        r"n_trials=\d+": "n_trials=2",
    },
    "several GPUs": {r"--gpus [\d,]+": "--workers 2", r"--devices 4": "--devices 2"},
    "PostgreSQL": {r"postgresql://me@host/studies": "$DATABASE"},
    "a Trainer": {r"\A": "trainer = build_trainer()\n"},
    "the model hub": {},
    "a search that has run": {},
    "a tracker": {},
    "a Ray cluster": {},
    "vLLM": {},
    "llama.cpp": {},
    "Ollama": {},
}
"""By what a block needs, what is put in place of what in it; nothing where what stands in answers to the same name."""

NAMES = ("meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.1-70B", "my-model")
CODED = ("organisation/model-with-code", "organisation/a-model-with-code")


def put(block: Block) -> str:
    """Returns a block's code as it is run here."""
    code = block.code
    for need in block.needs:
        for given, instead in WORDS[need].items():
            code = re.sub(given, instead, code)
    return code


@contextmanager
def standing_in(folder: Path, needs: set[str], models: Mapping[str, Path]) -> Iterator[Environment]:
    """Fills the folder that a page runs in, starts the servers that it needs, and gives the environment to run it with.

    Args:
        folder: empty.
        needs: of all its blocks.
        models: the tiny models.
    """
    programs = folder / ".programs"
    programs.mkdir()
    paths, python = [str(ROOT)], Path(sys.executable)
    own = {name: str(folder / name.lower()) for name in ("AUTOPEFT_CACHE", "AUTOPEFT_DATA")}
    # A home of the page's own: `.cache` in it is the checkout's, where nobody's caches belong.
    own |= {"HOME": str(folder), "HOSTNAME": "here", "XDG_CACHE_HOME": str(folder / "caches")}
    environment = {**os.environ, **own}
    _files(folder)
    decoder = models["llama"]
    with ExitStack() as stack:
        if "a tracker" in needs:
            python = interpreter("trackers", *TRACKERS)
        if "llama.cpp" in needs:
            converter, decoder = str(converter_folder()), _convertible(folder / "convertible")
            environment["LLAMA_CPP"] = converter
            paths.append(converter)
        if "a Ray cluster" in needs:
            paths.append(str(ray_folder()))
            environment["RAY_USAGE_STATS_ENABLED"] = "0"
        if "PostgreSQL" in needs:
            environment["DATABASE"] = _told(folder, stack.enter_context(database.server(_postgresql())))
        if "vLLM" in needs:
            _program(programs, "vllm", vllm_interpreter(), f"{ROOT / 'tests' / 'docs' / 'vllm_program.py'}")
        if "Ollama" in needs:
            _program(programs, "ollama", python, f"{ROOT / 'tests' / 'docs' / 'ollama_program.py'}")
        if "a search that has run" in needs:
            _searched(folder / "runs" / "demo")
        if "the model hub" in needs:
            hub = stack.enter_context(fake_hub())
            environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_" + "a" * 34, "HF_HUB_OFFLINE": "0"}
            environment["HF_HUB_DISABLE_XET"] = "1"
            _models(folder, decoder, models["bert"])
        _program(programs, "autopeft", python, "-c", "'from autopeft.cli.main import main; main()'")
        environment["PATH"] = os.pathsep.join([str(programs), str(ROOT / ".venv" / "bin"), os.environ["PATH"]])
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        yield environment


def _files(folder: Path) -> None:
    """Lays out a checkout as far as pages speak of it, and data under the names that they give it."""
    for name in (".cache", ".venv", "examples", "Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).symlink_to(ROOT / name)
    completion_jsonl(folder / "chats.jsonl")
    classification_csv(folder / "reviews.csv")
    classification_csv(folder / "new.csv", rows=20, seed=1)
    rated = fetch(get_asset("vader-movies"), ROOT / ".cache", print)
    head, *rows = rated.read_text().splitlines()
    (folder / "mine.csv").write_text("\n".join([head, *rows[::60]]) + "\n")


def _models(folder: Path, decoder: Path, encoder: Path) -> None:
    """Lays tiny models under the names of those that a hub has: a folder is looked for first."""
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(decoder)
    for name in CODED:
        give_code(Path(shutil.copytree(encoder, folder / name)), folder / "code-has-run")


def _convertible(folder: Path) -> Path:
    """Writes a decoder with random weights and a tokenizer that llama.cpp's converter knows."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(fetch(get_asset("smollm2"), ROOT / ".cache", print))
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _searched(folder: Path) -> None:
    best = complete(begin(folder), 0.9)
    finish(folder, best.candidate, {"default_lora": gap(0.1, 0.05)})


def _postgresql() -> Path:
    programs = database.binaries()
    assert programs is not None, "PostgreSQL is not installed: apt-get install postgresql"
    return programs


def _told(home: Path, url: str) -> str:
    """Leaves a database's password where its clients look for it, and returns the URL without it."""
    parts = urlsplit(url)
    place = f"{parts.hostname}:{parts.port}:*:{parts.username}"
    (home / ".pgpass").write_text(f"{place}:{unquote(parts.password or '')}\n")
    (home / ".pgpass").chmod(0o600)
    return url.replace(f":{parts.password}@", "@")


def _program(folder: Path, name: str, *command: str | Path) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\nexec {" ".join(map(str, command))} "$@"\n')
    path.chmod(0o755)
