"""`autopeft search`: short pruned trials of several methods, ending in `tuned.yaml`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from autopeft.cli.options import (
    TrustRemoteCode,
    parse_columns,
    parse_gpus,
    parse_names,
    parse_seconds,
    parse_tokens,
    seconds_for,
)
from autopeft.cli.output import Output
from autopeft.errors import RunningElsewhereError


class SearchCommand(TyperCommand):
    """The command, whose ``--ray`` may stand without an address."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses arguments as ever, an empty address put where none is given."""
        at = args.index("--ray") + 1 if "--ray" in args else len(args) + 1
        if at == len(args) or (at < len(args) and args[at].startswith("-")):
            args = [*args[:at], "", *args[at:]]
        return super().parse_args(ctx, args)


def command(
    model: Annotated[str, typer.Option(help="Model folder, hub name or GGUF file.")],
    data: Annotated[str, typer.Option(help="CSV, JSONL or Parquet file, datasets folder, or hub name.")],
    trials: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many trials.")] = None,
    time: Annotated[str | None, typer.Option(help="Stop the trials after so long: 45s, 10m, 1h. [30m]")] = None,
    tokens: Annotated[str | None, typer.Option(help="Stop after so many training tokens in all: 500k, 2M.")] = None,
    cost: Annotated[
        str | None, typer.Option(help="Stop the trials when the machine has cost so much: 5USD, with --price.")
    ] = None,
    price: Annotated[str | None, typer.Option(help="What the machine costs: 1.2/h.")] = None,
    stop_when_flat: Annotated[
        bool, typer.Option("--stop-when-flat", help="Stop when the last trials have brought nothing better.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Run trials in so many processes, one for each GPU; on a CPU with --time alone up to 4 by default.",
        ),
    ] = None,
    gpus: Annotated[
        str | None, typer.Option(help="The GPUs to use, one process for each: 0,1,2,3.", metavar="LIST")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="AUTOPEFT_STORAGE",
            metavar="URL",
            help="Join machines on one study: postgresql://user@host/database.",
        ),
    ] = None,
    study: Annotated[str, typer.Option(metavar="NAME", help="Its name in that database.")] = "autopeft",
    strategy: Annotated[
        str, typer.Option(help="Train each trial on several devices: ddp, or fsdp where one cannot hold the model.")
    ] = "none",
    devices: Annotated[int, typer.Option(metavar="N", help="Devices that train a trial together.")] = 1,
    ray: Annotated[
        str | None, typer.Option(metavar="[ADDRESS]", help="Train on a Ray cluster, by default the one that Ray finds.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the study and its results.")] = Path("autopeft-search"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in the folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would try and cost, then stop.")] = False,
    task: Annotated[str | None, typer.Option(help="Task type; detected by default.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="ROLE=NAME, such as text=review; repeatable.")] = None,
    metric: Annotated[str | None, typer.Option(help="A metric of the task, or package.module:function.")] = None,
    folds: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Cross-validate each trial. [3 below 3,000 rows]")
    ] = None,
    repeats: Annotated[int | None, typer.Option(min=1, metavar="N", help="Repeat that with other folds. [2]")] = None,
    token_limit: Annotated[int | None, typer.Option(min=4, metavar="N", help="Longest row in tokens.")] = None,
    trial_tokens: Annotated[int | None, typer.Option(min=1, metavar="N", help="Tokens of a full trial.")] = None,
    class_weights: Annotated[bool, typer.Option("--class-weights", help="Weigh rare classes up.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything random.")] = 0,
    methods: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    exclude: Annotated[str | None, typer.Option(help="Never these, separated by commas.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory to stay below, such as 10GiB.")] = None,
    max_trainable: Annotated[str | None, typer.Option(help="Most trained parameters: 5M, or 1% of all.")] = None,
    objective: Annotated[
        str | None, typer.Option(help="quality, alone by default, or with any of memory, time, forgetting, latency.")
    ] = None,
    general_text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Measure forgetting on your own text, one per line.")
    ] = None,
    no_inference_latency: Annotated[
        bool, typer.Option("--no-inference-latency", help="Only methods that merge into the weights.")
    ] = False,
    search_spaces: Annotated[Path | None, typer.Option(help="Folder of search-space files of your own.")] = None,
    no_evidence: Annotated[
        bool, typer.Option("--no-evidence", help="Do not keep the trials for later suggestions on this machine.")
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Log trials to mlflow, wandb, tensorboard or trackio; repeatable."),
    ] = None,
    _code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tune: run short pruned trials and write the best configuration to OUTPUT/tuned.yaml."""
    given = [seconds for seconds in (_seconds(time), seconds_for(cost, price)) if seconds]
    stop_after = min(given, default=None)
    total_tokens = None if tokens is None else parse_tokens(tokens)
    columns = parse_columns(column)
    named_gpus = parse_gpus(gpus)
    show = Output(as_json=as_json)
    show.say("Loading libraries …")

    from rich.markup import escape

    from autopeft.cli.search_view import LiveView, cost_view, preparation_view, result_view
    from autopeft.profiling.sizes import parse_bytes
    from autopeft.report import write_report
    from autopeft.tuning.prepare import Request
    from autopeft.tuning.session import dry_run as plan_only
    from autopeft.tuning.session import limits, run_search
    from autopeft.tuning.spread import Spread
    from autopeft.tuning.trackers import Tracked, check_trackers
    from autopeft.values.candidates import Constraints, Team

    request = Request(
        model=model,
        data=data,
        task=task,  # type: ignore[arg-type]  # the data room refuses an unknown one by name
        columns=columns,
        metric=metric,
        folds=folds,
        repeats=repeats,
        token_limit=token_limit,
        tokens=trial_tokens,
        class_weights=class_weights,
        seed=seed,
        constraints=Constraints(
            memory_bytes=None if memory is None else parse_bytes(memory),
            mergeable_only=no_inference_latency,
            methods=parse_names(methods),
            exclude=parse_names(exclude),
            team=Team(strategy=strategy, devices=devices),  # type: ignore[arg-type]  # refused by name where unknown
        ),
        max_trainable=max_trainable,
        spaces=search_spaces,
        teach=not no_evidence,
        objectives=parse_names(objective) or Request.objectives,
        general_text=general_text,
    )
    spread = Spread(workers=workers, gpus=named_gpus, storage=storage, study=study, ray=ray)
    stops = limits(trials, stop_after, total_tokens, when_flat=stop_when_flat)
    if dry_run:
        check_trackers(track or ())
        prepared, planned = plan_only(request, stops, spread)
        show.result(planned, *preparation_view(prepared), *cost_view(planned, stops))
        return
    begun = _begun(output) if resume else 0
    with LiveView(show, stops, begun) as view:
        watched = Tracked(view, track or (), output)
        try:
            result = run_search(request, output, stops, resume=resume, observer=watched, spread=spread)
            watched.finished(result)
        except KeyboardInterrupt:
            show.say(
                f"\nStopped. What is done is kept in {escape(str(output))}; go on with the same command and --resume."
            )
            raise typer.Exit(130) from None
        except RunningElsewhereError as left:
            show.result({"running_elsewhere": True}, str(left))
            raise typer.Exit from None
    # Before the page is drawn: whatever keeps that from being written, the result has been told.
    show.result(result, *result_view(result))
    write_report(output)


def _seconds(time: str | None) -> float | None:
    return None if time is None else parse_seconds(time)


def _begun(folder: Path) -> int:
    """Returns how many trials the search in a folder has begun."""
    from autopeft.tuning.folder import OutputFolder
    from autopeft.tuning.halving import begun
    from autopeft.tuning.kept import kept_study

    study = kept_study(OutputFolder(folder).study)
    return 0 if study is None else begun(study.outcomes())
