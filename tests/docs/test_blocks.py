"""Every code block of the documentation is one that a reader can run, and none is left out of what is run."""

import ast
import doctest
import importlib
import re

import click
import pytest
from typer.main import get_command

import autopeft
from autopeft.cli.main import app
from tests.docs.blocks import EVERY, PAGES, ROOT, commands
from tests.docs.standins import WORDS

COMMANDS = get_command(app)
OUTPUT = "text"


def test_the_documentation_has_blocks():
    """The pattern finds them: a change of style does not turn the checks below off in silence."""
    assert len(PAGES) >= 15
    assert sum(block.language == "sh" for block in EVERY) >= 20
    assert sum(block.language == "python" for block in EVERY) >= 6
    assert {block.language for block in EVERY} <= {"sh", "python", OUTPUT}
    assert sum(page.read_text().count("```") for page in PAGES) == 2 * len(EVERY)


def test_what_a_block_needs_is_stood_in_for():
    """A need that nothing stands in for would leave its block without a run."""
    assert {need for block in EVERY for need in block.needs} == set(WORDS)


def test_every_file_that_a_page_shows_is_an_example():
    """A formatter has not turned the mark of an included file into something else, and each is run as an example."""
    assert not [block.name for block in EVERY if "8<" in block.code.replace(" ", "")]
    shown = {block.file for block in EVERY if block.file}
    assert len(shown) >= 6
    run = (ROOT / "tests" / "examples" / "test_examples.py").read_text()
    for file in shown:
        name = file.removeprefix("examples/")
        assert f'run("{name}"' in run or name == "own_method/random_core.py"


def test_what_is_said_to_be_the_demo_is_what_make_runs():
    """The README's commands are those of `make demo`, and the page of an example has its script's."""
    (demo,) = re.findall(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    pairs = {
        "README.md": commands(demo.replace("$(BIN)", ".venv/bin")),
        "examples/generation.md": commands((ROOT / "examples" / "generation.sh").read_text()),
    }
    for page, wanted in pairs.items():
        shown = next(block for block in EVERY if block.name == page and block.commands)
        places = {"${OUT:-runs/generation}": "runs/generation"}
        assert shown.commands == [[places.get(word, word) for word in words] for words in wanted]


@pytest.mark.parametrize("block", [b for b in EVERY if b.language == "sh"], ids=lambda block: block.name)
def test_every_command_is_one(block):
    """Each `autopeft` line parses with the real command line: commands, options and kinds of values."""
    for words in block.commands:
        command, path = COMMANDS, "autopeft"
        words = [part for word in words for part in (("--model", "m", "--data", "d") if word == "…" else (word,))]
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


BENCHMARK = re.compile(r"`python\s+(?:-m\s+benchmarks\.|benchmarks/)(?P<name>\w+)(?:\.py)?(?P<words>[^`]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_option_that_a_page_names_exists(page):
    """What prose calls an option is one of a command, too."""
    prose = BENCHMARK.sub("", page.read_text())
    assert named_options(prose) <= options(COMMANDS) | FOREIGN


def test_every_benchmark_that_a_page_names_exists():
    """So are the files of benchmarks, with their commands and options."""
    named = [found for page in PAGES for found in BENCHMARK.finditer(page.read_text())]
    assert len(named) >= 5
    for found in named:
        code = (ROOT / "benchmarks" / f"{found['name']}.py").read_text()
        words = [word for word in found["words"].split() if not word.isdigit()]
        assert not [word for word in words if f'"{word}"' not in code], found[0]


def named_options(text):
    """The long options in a text."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text))


@pytest.mark.parametrize("block", [b for b in EVERY if b.language == "python"], ids=lambda block: block.name)
def test_every_python_block_is_python(block):
    """Each block of Python compiles."""
    ast.parse(block.code)


def test_the_examples_of_docstrings_are_run():
    """One that says what comes back is run here; one that needs a model is on the page of public names."""
    shown = {path: re.findall(r"^ *>>> .*", path.read_text(), re.M) for path in (ROOT / "autopeft").rglob("*.py")}
    tried = 0
    for path, lines in shown.items():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        skipped = [line for line in lines if "doctest: +SKIP" in line]
        assert not skipped or name in autopeft._HOMES.values()
        if len(skipped) < len(lines):
            failed, attempted = doctest.testmod(importlib.import_module(name))
            assert not failed
            tried += attempted
    assert tried >= 1
