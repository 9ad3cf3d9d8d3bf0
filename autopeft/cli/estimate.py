"""`autopeft estimate`: peak memory and step time of one way to fine-tune, without a GPU and without weights."""

from typing import Annotated

import typer

from autopeft.cli.options import TrustRemoteCode, parse_settings
from autopeft.cli.output import Output
from autopeft.errors import invalid

_OTHER = "Where other code trains (TRL, Axolotl, LLaMA-Factory …)"


def command(
    model: Annotated[str, typer.Option(help="Model folder (config.json is enough), hub name or GGUF file.")],
    method: Annotated[str | None, typer.Option(help="A method of the catalogue; the default recipe's else.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE: a parameter of the method, targets or layers; repeatable."),
    ] = None,
    quantization: Annotated[str, typer.Option(help="How base weights are stored: none, int8, nf4-double …")] = "none",
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; the device's else.")] = None,
    optimizer: Annotated[str, typer.Option(help="adamw, adamw_8bit, paged_adamw_8bit, adafactor …")] = "adamw",
    learning_rate: Annotated[float | None, typer.Option(metavar="RATE", help="Above 0; costs nothing.")] = None,
    layers: Annotated[str | None, typer.Option(help="all, last:K, every:N or gradient:K.")] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Rows per forward pass.")] = 1,
    accumulation: Annotated[int, typer.Option(metavar="N", help="Forward passes per optimizer step.")] = 1,
    sequence_length: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens per row. [512, or the model's positions]")
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Recompute activations in the backward pass.")
    ] = False,
    checkpointing: Annotated[
        str | None,
        typer.Option(help="How another trainer recomputes: reentrant or non-reentrant.", rich_help_panel=_OTHER),
    ] = None,
    loss: Annotated[
        str, typer.Option(help="whole, or chunked: head and loss some tokens at a time.", rich_help_panel=_OTHER)
    ] = "whole",
    attention: Annotated[
        str, typer.Option(help="sdpa (torch picks a kernel), eager, or the package flash.", rich_help_panel=_OTHER)
    ] = "sdpa",
    packing: Annotated[
        bool, typer.Option("--packing", help="Texts of a batch share one row, without padding.", rich_help_panel=_OTHER)
    ] = False,
    no_autocast: Annotated[
        bool, typer.Option("--no-autocast", help="Each weight computes in its own dtype.", rich_help_panel=_OTHER)
    ] = False,
    task: Annotated[str | None, typer.Option(help="Task type; by the kind of model else.")] = None,
    gpu: Annotated[str | None, typer.Option(help="A card from the catalogue, such as rtx-3090.")] = None,
    memory: Annotated[str | None, typer.Option(help="Plan as if the device had this much, such as 10GiB.")] = None,
    reserve: Annotated[str | None, typer.Option(help="Leave so much to others, such as a display: 1GiB.")] = None,
    strategy: Annotated[str, typer.Option(help="none, ddp or fsdp.")] = "none",
    devices: Annotated[int, typer.Option(metavar="N", help="Devices that work together.")] = 1,
    maximize: Annotated[
        str | None, typer.Option(help="Find the largest that fits: batch-size, sequence-length or rank.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Time this machine's device first.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 where it does not fit.")] = False,
    _code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Estimate: peak memory and step time of one configuration, before anything is loaded or trained."""
    from autopeft.cli.estimate_view import document, view
    from autopeft.estimation.answer import answer
    from autopeft.estimation.question import Question
    from autopeft.profiling.sizes import parse_bytes

    output = Output(as_json=as_json)
    settings = parse_settings(setting)
    if layers is not None:
        if "layers" in settings:
            raise invalid("--layers", "an estimate", "left out where --set names layers too", layers)
        settings["layers"] = layers
    question = Question(
        model=model, method=method, settings=settings, quantization=quantization, dtype=dtype, optimizer=optimizer,
        learning_rate=learning_rate, batch_size=batch_size, accumulation=accumulation,
        sequence_length=sequence_length, gradient_checkpointing=gradient_checkpointing, task=task, gpu=gpu,
        memory_bytes=None if memory is None else parse_bytes(memory),
        reserve_bytes=0 if reserve is None else parse_bytes(reserve, "--reserve"),
        strategy=strategy, devices=devices, measure=measure,
        checkpointing=checkpointing, loss=loss, attention=attention, packing=packing, autocast=not no_autocast,
    )  # fmt: skip
    found = answer(question, maximize)
    output.result(document(found), *view(found))
    if check and not found.fits:
        raise typer.Exit(3)
