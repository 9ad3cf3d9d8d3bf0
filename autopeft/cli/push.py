"""`autopeft push`: uploads an adapter with its card."""

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.output import Output


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The output of autopeft train, or an adapter.")],
    repo: Annotated[str, typer.Option(metavar="NAME", help="The repository: NAME or ORGANISATION/NAME.")],
    public: Annotated[
        bool, typer.Option("--public", help="A new repository is visible to all; private by default.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Push: upload an adapter with its card, tokenizer and metrics to the model hub, private unless --public."""
    from rich.markup import escape

    from autopeft.finetune.push import push

    show = Output(as_json=as_json)
    show.say("Uploading …")
    pushed = push(folder, repo, public=public)
    seen = {True: "private", False: "public", None: "as visible as it was"}[pushed.private]
    show.result(pushed, escape(f"{pushed.address} ({seen}): {', '.join(pushed.files)}"))
