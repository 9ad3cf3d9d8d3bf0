"""The `autopeft` command: loads one command's file when it is called, and formats the project's own errors."""

import logging
import os
import sys
import warnings
from pathlib import Path

import typer

from autopeft import __version__
from autopeft.cli import (
    compare,
    estimate,
    evidence,
    export,
    fetch,
    inspect,
    methods,
    predict,
    profile,
    push,
    report,
    search,
    suggest,
    train,
)
from autopeft.errors import AutopeftError

app = typer.Typer(
    name="autopeft",
    help="Chooses and tunes the parameter-efficient fine-tuning method for your model, your data and your GPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"autopeft {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    del version  # the callback has printed it


app.command("profile")(profile.command)
app.command("suggest")(suggest.command)
app.command("estimate")(estimate.command)
app.command("search", cls=search.SearchCommand)(search.command)
app.command("report")(report.command)
app.command("train")(train.command)
app.command("predict")(predict.command)
app.command("push")(push.command)
app.command("export")(export.command)
app.command("inspect")(inspect.command)
app.command("compare")(compare.command)
app.command("methods")(methods.command)
app.add_typer(evidence.app, name="evidence")
app.command("fetch")(fetch.command)


def main() -> None:
    """Runs the command line; exit codes: 0 done, 2 bad input, 3 nothing fits (`estimate`: --check), 130 interrupted."""
    # Tokenizers warn when a process forks after using them in parallel; the searches fork no such process.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait cost little on an idle machine and half of all speed on a shared one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Loading reports and deprecations inside the libraries are not for the user of a command.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Metrics and methods of the user's own are found where the command runs; installed packages come first.
    sys.path.append(str(Path.cwd()))
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|torch)\b")
    try:
        app()
    except AutopeftError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
