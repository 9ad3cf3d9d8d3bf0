"""`autopeft export`: a tuned config as another tool's file."""

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.output import Output


def command(
    config: Annotated[Path, typer.Argument(help="The tuned config, such as autopeft-search/tuned.yaml.")],
    to: Annotated[
        str, typer.Option(help="peft, transformers, trl, axolotl, llamafactory, unsloth, torchtune, ludwig.")
    ],
    output: Annotated[Path | None, typer.Option(help="A new file; printed by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Export: write the tuned config as the file another tool takes, and say what it cannot express."""
    from autopeft.errors import StudyError
    from autopeft.files import write_text
    from autopeft.tuned import TunedConfig

    show, tuned = Output(as_json=as_json), TunedConfig.load(config)

    from rich.markup import escape

    from autopeft.export import all_targets, export

    made = export(tuned, to)
    target = all_targets()[to]
    files = {output: made.text} if output is not None else {}
    if output is not None:
        files |= {output.parent / name: text for name, text in made.companions.items()}
    for path in files:
        if path.exists():
            raise StudyError(f"{path} exists already. Name a file in another folder with --output.")
    for path, text in files.items():
        write_text(path, text)
    document = {
        "target": to, "schema": target.schema, "run": target.run, "files": [str(path) for path in files],
        "unsupported": list(made.unsupported), **({} if files else {"text": made.text, "companions": made.companions}),
    }  # fmt: skip
    if not as_json and not files:
        typer.echo(made.text, nl=False)
    show.result(document, *(escape(str(path)) for path in files))
    if not as_json:
        for sentence in made.unsupported:
            show.say(f"[yellow]-[/] {escape(sentence)}")
        if made.companions and not files:
            show.say(f"It needs {', '.join(made.companions)} beside it: written with --output.")
        show.say(escape(f"Run: {target.run.replace('FILE', str(output or target.file))}"))
