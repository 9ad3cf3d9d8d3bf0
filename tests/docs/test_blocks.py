"""Every code block of the documentation is one that a reader can run, and those that take seconds are run."""

import ast
import json
import os
import re
import subprocess
import sys

import click
import pytest
from typer.main import get_command

from autopeft.cli.main import app
from tests.docs.blocks import EVERY, PAGES, ROOT
from tests.report.folders import begin, complete, finish, gap
from tests.toys import classification_csv, completion_jsonl

COMMANDS = get_command(app)
RUNNER = """
import json, subprocess, sys
space = {"__name__": "page"}
for number, (language, code) in enumerate(json.load(sys.stdin)):
    print(f"--- block {number}", flush=True)
    if language == "python":
        exec(compile(code, f"block {number}", "exec"), space)
    elif language == "sh":
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
    else:
        missing = [line for line in code.splitlines() if line.strip() not in done.stdout]
        assert not missing, missing
"""


def test_the_documentation_has_blocks():
    """The pattern finds them: a change of style does not turn the checks below off in silence."""
    assert len(PAGES) >= 15
    assert sum(block.language == "sh" for block in EVERY) >= 20
    assert sum(block.language == "python" for block in EVERY) >= 6
    assert {block.language for block in EVERY} <= {"sh", "python", "text"}


def test_every_file_that_a_page_shows_is_shown():
    """A formatter has not turned the mark of an included file into something else, and each of these is in place."""
    assert not [block.name for block in EVERY if "8<" in block.code.replace(" ", "")]
    assert sum("def " in block.code for block in EVERY if block.why) >= 4


@pytest.mark.parametrize("block", [b for b in EVERY if b.language == "sh"], ids=lambda block: block.name)
def test_every_command_is_one(block):
    """Each `autopeft` line parses with the real command line: commands, options and kinds of values."""
    for words in block.commands:
        command, words, path = COMMANDS, list(words), "autopeft"
        while hasattr(command, "commands"):
            assert words[0] in command.commands, f"{path} has no command {words[0]}"
            path, command = f"{path} {words[0]}", command.commands[words.pop(0)]
        try:
            command.make_context(path, words).close()  # what its options opened ends here
        except click.exceptions.Exit:
            assert "--help" in words


FOREIGN = {"--enable-lora", "--max-lora-rank", "--lora-modules", "--gres", "--requeue"}  # of vLLM and Slurm


def options(command):
    """Every option of a command and of those below it."""
    found = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return found.union(*map(options, getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_option_that_a_page_names_exists(page):
    """What prose calls an option is one of a command, too."""
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text()))
    assert named <= options(COMMANDS) | FOREIGN


@pytest.mark.parametrize("block", [b for b in EVERY if b.language == "python"], ids=lambda block: block.name)
def test_every_python_block_is_python(block):
    """Each block of Python compiles."""
    ast.parse(block.code)


MINUTES = "takes minutes"
SHORTER = {
    r"--time \w+": "--trials 2 --trial-tokens 800 --folds 1 --methods bitfit",
    r"--probe \w+": "--probe 5s",
    r"(autopeft train .*)": r"\1 --epochs 0.1",
}
"""What makes seconds of the minutes that a page's commands take."""

SEARCHED = "needs a search that has run"
ELSEWHERE = {"needs the model hub", SEARCHED}
STAND_INS = {
    r"(meta-llama|organisation)/[\w.-]+": "tiny",
    r"--time \w+": "--trials 1 --trial-tokens 400 --folds 1 --methods lora",
    r"--gpus [\d,]+": "--workers 2 --output on-workers",
    r'"\$HOME/([^"]*)"': r"\1",
    r"(?m)^vllm .*$": "",
    r"(autopeft train .*)": r"\1 --epochs 0.1",
}
"""What stands in for the hub's models, the reader's home, several GPUs, and a server that is not installed here."""


def changes(block):
    """Returns what is put in place of what in a block before it runs, None where the block is not run."""
    shell = block.language == "sh" and not block.code.startswith("#!")  # files that a page shows run as examples
    if not block.why:
        return {} if block.language in ("sh", "python") else None
    return {MINUTES: SHORTER, **dict.fromkeys(ELSEWHERE, STAND_INS)}.get(block.why) if shell else None


def runs(block):
    """Whether a block is run here."""
    return changes(block) is not None


def runnable(page):
    """Returns the language and code of each block of a page of the site that runs, and of the output shown behind it.

    Those of the other files name models of the reader's own.
    """
    found = [block for block in EVERY if block.page == page] if page.is_relative_to(ROOT / "docs") else []
    for before, block in zip([None, *found], found, strict=False):
        if runs(block):
            code = block.code
            for given, instead in changes(block).items():
                code = re.sub(given, instead, code)
            yield block.language, code
        elif block.language == "text" and before and before.language == "sh" and runs(before) and not before.why:
            yield block.language, block.code


@pytest.mark.slow
@pytest.mark.timeout(1500)  # a machine that others use is no defect of a page
@pytest.mark.parametrize("page", [p for p in PAGES if any(runnable(p))], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_a_page_shows_runs(page, tiny_models, tmp_path):
    """The blocks of a page run in their order, in one folder with the fetched models, and print what the page shows.

    What takes minutes is shortened, and a tiny model stands in for those of the hub.
    """
    (tmp_path / ".cache").symlink_to(ROOT / ".cache")
    (tmp_path / "tiny").symlink_to(tiny_models["llama"])
    completion_jsonl(tmp_path / "chats.jsonl")
    classification_csv(tmp_path / "reviews.csv")
    classification_csv(tmp_path / "new.csv", rows=20, seed=1)
    if any(block.why == SEARCHED for block in EVERY if block.page == page):
        best = complete(begin(tmp_path / "runs" / "demo"), 0.9)
        finish(tmp_path / "runs" / "demo", best.candidate, {"default_lora": gap(0.1, 0.05)})
    # What a page measures of this machine must not reach the tests that come after it.
    own = {"AUTOPEFT_CACHE": str(tmp_path / "cache"), "AUTOPEFT_DATA": str(tmp_path / "data"), "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}", **own}
    done = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(list(runnable(page))),
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
