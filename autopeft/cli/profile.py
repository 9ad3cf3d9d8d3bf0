"""`autopeft profile`: the hardware, a model's structure and what the data asks, before anything is trained."""

from typing import Annotated

import typer

from autopeft.cli.options import TrustRemoteCode, parse_columns
from autopeft.cli.output import Output


def command(
    model: Annotated[str | None, typer.Option(help="Model folder (with config.json), hub name or GGUF file.")] = None,
    data: Annotated[str | None, typer.Option(help="File, folder or hub name.")] = None,
    task: Annotated[str | None, typer.Option(help="Task type; detected where there is data.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="ROLE=NAME, such as text=review; repeatable.")] = None,
    gpu: Annotated[str | None, typer.Option(help="A card from the catalogue, such as rtx-3090.")] = None,
    memory: Annotated[str | None, typer.Option(help="Plan for this much memory, such as 24GiB.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time a matrix product per dtype and a copy.")] = False,
    _code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Profile: look at the machine, a model's config and the data, without loading weights."""
    from autopeft.cli.profile_view import document, view
    from autopeft.profiling import profile
    from autopeft.profiling.sizes import parse_bytes

    output = Output(as_json=as_json)
    found = profile(
        model, data, task=task, columns=parse_columns(column), gpu=gpu,
        memory_bytes=None if memory is None else parse_bytes(memory), measure=measure,
    )  # fmt: skip
    output.result(document(found), *view(found))
