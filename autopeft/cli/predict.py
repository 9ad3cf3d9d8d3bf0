"""`autopeft predict`: scores new rows with what a full training left."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autopeft.cli.options import TrustRemoteCode, leave_freest_gpu
from autopeft.cli.output import Output, unbroken

if TYPE_CHECKING:
    from autopeft.finetune import Prediction

_SHOWN = 20


def command(
    folder: Annotated[Path, typer.Argument(help="The output folder of `autopeft train`.")],
    data: Annotated[str, typer.Option(help="Rows to score; they need no labels.")],
    output: Annotated[Path | None, typer.Option(help="A new .csv or .jsonl file for the predictions.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Rows at once.")] = 32,
    max_new_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Longest text, for tasks that write.")] = 128,
    _code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Predict: labels with calibrated probabilities, numbers or text for new rows."""
    from autopeft.finetune.table import check_target, write_predictions

    show = Output(as_json=as_json)
    if output is not None:
        check_target(output)
    leave_freest_gpu()

    from rich.markup import escape

    from autopeft.finetune import predict_rows

    found = predict_rows(folder, data, batch_size=batch_size, max_new_tokens=max_new_tokens)
    lacking = sum(row.value is None for row in found)
    if lacking:
        show.say(f"{lacking} of {len(found)} rows lack what the model reads; their prediction is empty.")
    cut = sum(row.truncated for row in found)
    if cut:
        show.say(f"{cut} of {len(found)} rows have more tokens than training read of a row; their ends played no part.")
    if output is not None:
        write_predictions(found, output)
        show.result(
            {"rows": len(found), "lacking": lacking, "truncated": cut, "output": str(output)},
            unbroken(f"{output}: {len(found)} rows"),
        )
        return
    lines = [escape(_line(row)) for row in found[:_SHOWN]]
    more = [f"… {len(found) - _SHOWN} more: write them with --output"] if len(found) > _SHOWN else []
    show.result(found, *lines, *more)


def _line(row: "Prediction") -> str:
    tagged = isinstance(row.value, Sequence) and not isinstance(row.value, str)
    value = " ".join(tag or "?" for tag in row.value) if tagged else row.value
    chance = f"  ({row.probability:.3f})" if isinstance(row.probability, float) else ""
    return f"{row.row}: {value}{chance}"
