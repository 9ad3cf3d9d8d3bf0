"""`autopeft suggest`: what to try for a model, some data and a device, with what it costs and why."""

from typing import Annotated

import typer

from autopeft.cli.options import TrustRemoteCode, parse_columns, parse_names, parse_seconds
from autopeft.cli.output import Output
from autopeft.errors import invalid


def command(
    model: Annotated[str, typer.Option(help="Model folder (config.json is enough), hub name or GGUF file.")],
    data: Annotated[str | None, typer.Option(help="File, folder or hub name; or describe it with --task.")] = None,
    task: Annotated[str | None, typer.Option(help="Task type; detected where there is data.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, metavar="N", help="Training rows, without data.")] = None,
    tokens_per_row: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Tokens per row, without data.")
    ] = None,
    column: Annotated[list[str] | None, typer.Option(help="ROLE=NAME, such as text=review; repeatable.")] = None,
    gpu: Annotated[str | None, typer.Option(help="A card from the catalogue, such as rtx-3090.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory to stay below, such as 10GiB.")] = None,
    max_trainable: Annotated[str | None, typer.Option(help="Most trained parameters: 5M, or 1% of all.")] = None,
    no_inference_latency: Annotated[
        bool, typer.Option("--no-inference-latency", help="Only methods that merge into the weights.")
    ] = False,
    objective: Annotated[
        str | None,
        typer.Option(
            help="Of quality, memory, time, size, latency, forgetting: quality=1,memory=0.3 weighs, "
            "quality,memory gives the Pareto set."
        ),
    ] = None,
    serve: Annotated[
        str | None, typer.Option(help="Only what this server takes: vllm, tgi, llama.cpp, transformers, …")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    exclude: Annotated[str | None, typer.Option(help="Never these, separated by commas.")] = None,
    probe: Annotated[
        str | None, typer.Option(help="Spend so long on real steps of the first few, such as 2m; needs --data.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Show so many candidates. [10; all with --json]")
    ] = None,
    no_evidence: Annotated[
        bool, typer.Option("--no-evidence", help="Advise as if none of your own searches had been kept.")
    ] = False,
    _code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Suggest: rank methods and settings by measured runs, rules and estimates, in seconds, without training."""
    from autopeft.cli.suggest_view import SHOWN, document, view
    from autopeft.profiling.sizes import parse_bytes
    from autopeft.recommend.budget import parse_budget
    from autopeft.recommend.objectives import parse_objectives, preferred
    from autopeft.recommend.suggest import collect_profiles, recommend_for
    from autopeft.values.candidates import Constraints

    output = Output(as_json=as_json)
    seconds = None if probe is None else _probe_seconds(probe, data, gpu)
    asked = None if objective is None else parse_objectives(objective)
    limit = None if memory is None else parse_bytes(memory)
    profiles = collect_profiles(
        model, data, task=task, rows=rows, tokens_per_row=tokens_per_row, columns=parse_columns(column), gpu=gpu,
        memory_bytes=limit,
    )  # fmt: skip
    constraints = Constraints(
        memory_bytes=limit,
        max_trainable=None if max_trainable is None else parse_budget(max_trainable, profiles.model.parameters),
        mergeable_only=no_inference_latency,
        server=serve,
        methods=parse_names(methods),
        exclude=parse_names(exclude),
    )
    found = recommend_for(profiles, constraints, own_evidence=not no_evidence)
    if seconds is not None and data is not None:
        from autopeft.tuning.probe import probe as probed

        found = probed(profiles, data, found, seconds, output.say)
    found = found if asked is None else preferred(found, asked)
    shown = top if top is not None else (len(found.candidates) if as_json else SHOWN)
    output.result(document(profiles, found, shown, serve), *view(profiles, found, shown, serve))


def _probe_seconds(text: str, data: str | None, gpu: str | None) -> float:
    """Returns the seconds to probe for, where there is something to probe and a device to do it on."""
    if data is None or gpu is not None:
        advice = "Give --data, and leave out --gpu: steps are taken on this machine."
        raise invalid("--probe", "a suggestion", "given with data and this machine's device", text, advice)
    return parse_seconds(text, key="--probe", owner="a suggestion")
