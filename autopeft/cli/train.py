"""`autopeft train`: full training from a tuned config."""

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.options import TrustRemoteCode, leave_freest_gpu
from autopeft.cli.output import Output


def command(
    config: Annotated[Path, typer.Argument(help="The tuned config, such as autopeft-search/tuned.yaml.")],
    data: Annotated[str, typer.Option(help="CSV, JSONL or Parquet file, datasets folder, or hub name.")],
    output: Annotated[Path, typer.Option(help="Folder for the adapter, its card and its metrics.")],
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Passes over the data; the config's by default.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Also write the merged model to OUTPUT/merged.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    also: Annotated[
        list[str] | None, typer.Option(help="Other data to score before and after; may be given several times.")
    ] = None,
    _code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train: run the full training of a tuned config, with everything measured before and after."""
    show = Output(as_json=as_json)
    from autopeft.tuned import TunedConfig

    tuned = TunedConfig.load(config)
    leave_freest_gpu()
    show.say("Loading libraries …")

    from rich.markup import escape

    from autopeft.cli.train_view import Progress, result_view
    from autopeft.finetune import train

    with Progress(show) as progress:
        try:
            trained = train(
                tuned, data, output, epochs=epochs, merge=merge, resume=resume, also=also or (), observer=progress
            )
        except KeyboardInterrupt:
            show.say(f"\nStopped. What is done is kept in {escape(str(output))}; go on with --resume.")
            raise typer.Exit(130) from None
    show.result(trained, *result_view(trained))
