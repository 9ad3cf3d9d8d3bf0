"""`autopeft evidence`: the runs that advice rests on, published ones and the user's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from autopeft.cli.output import Output, unbroken

if TYPE_CHECKING:
    from autopeft.recommend._evidence_store import Kept
    from autopeft.values.evidence import Run

app = typer.Typer(no_args_is_help=True, help="List, export, import or forget the runs that advice rests on.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Whose = Literal["own", "shipped", "all"]
_MOST_SHOWN = 40


@app.command("list")
def list_runs(
    whose: Annotated[Whose, typer.Option(help="Your own runs, those that come with autopeft, or both.")] = "own",
    method: Annotated[str | None, typer.Option(help="Only this method's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List measured runs: your own, from searches on this machine, or those that come with autopeft."""
    from autopeft.recommend.evidence import shipped_runs

    output = Output(as_json=as_json)
    runs = (*(_own(output) if whose != "shipped" else ()), *(shipped_runs() if whose != "own" else ()))
    if method is not None:
        _check_known(method)
    chosen = [run for run in runs if method in (None, run.method)]
    output.result(chosen, *_table(chosen, whose))


@app.command("export")
def export_runs(
    path: Annotated[Path, typer.Argument(help="The JSONL file to write.")],
    as_json: AsJson = False,
) -> None:
    """Write your own runs to a file, to keep or to import elsewhere."""
    from autopeft.recommend._evidence_store import export

    output = Output(as_json=as_json)
    found = export(path)
    _complain(output, found)
    count = len(found.runs)
    output.result({"path": str(path), "runs": count}, unbroken(f"{count} runs written to {path}"))


@app.command("import")
def import_runs(
    path: Annotated[Path, typer.Argument(help="A JSONL file of runs, such as `autopeft evidence export` writes.")],
    as_json: AsJson = False,
) -> None:
    """Add the runs of a file to your own; a file with a wrong line is refused as a whole."""
    from autopeft.recommend._evidence_store import add_from

    added, known = add_from(path)
    human = f"{added} runs added, {known} were there already"
    Output(as_json=as_json).result({"added": added, "known": known}, human)


@app.command("forget")
def forget_runs(
    names: Annotated[list[str] | None, typer.Argument(help="Names of runs, as `list` shows them.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of your own runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove runs of your own; those that come with autopeft stay."""
    from autopeft.errors import invalid, unknown
    from autopeft.recommend._evidence_store import forget, readable

    if every is bool(names):
        raise invalid("--all", "autopeft evidence forget", "given, or names of runs in its place", names or [])
    output, found = Output(as_json=as_json), readable()
    _complain(output, found)
    known = {run.name for run in found.runs}
    for name in names or ():
        if name not in known:
            raise unknown("name", "your own evidence", name, known) if known else _nothing(name)
    count = forget(lambda run: every or run.name in (names or ()))
    output.result({"forgotten": count}, f"{count} runs forgotten")


def _nothing(name: str) -> Exception:
    from autopeft.errors import invalid

    return invalid("name", "autopeft evidence forget", "a run of your own, of which there are none", name)


def _check_known(method: str) -> None:
    from autopeft.methods import get_method

    get_method(method)


def _own(output: Output) -> tuple["Run", ...]:
    from autopeft.recommend._evidence_store import SWITCH, enabled, kept

    if not enabled():
        output.say(f"Your own runs are switched off by {SWITCH}.")
    found = kept()
    _complain(output, found)
    return found.runs


def _complain(output: Output, found: "Kept") -> None:
    for sentence in found.complaints:
        output.say(unbroken(sentence))


def _table(runs: list["Run"], whose: Whose) -> tuple[Any, ...]:
    from rich.markup import escape
    from rich.table import Table

    if not runs:
        shipped = "None of the runs that come with autopeft is of this method."
        return (shipped if whose == "shipped" else "No runs; searches on this machine add theirs.",)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Name", "Method", "Model", "Task", "Rate", "Quality", "Status"):
        table.add_column(title, overflow="fold")
    for run in runs[:_MOST_SHOWN]:
        rate = "" if run.learning_rate is None else f"{run.learning_rate:g}"
        quality = "" if run.quality is None else f"{run.quality.value:.3f} {run.quality.metric}"
        words = (run.name, run.method or run.original, run.model.name, run.task.name, rate, quality, run.status)
        table.add_row(*(escape(word) for word in words))
    more = len(runs) - _MOST_SHOWN
    return (table, f"\n{len(runs)} runs" + (f", {more} of them not shown; --json has them all." if more > 0 else "."))
