"""What `autopeft search` shows a person: the plan, the progress, and the result."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from autopeft.cli.front_view import final_view, front_view
from autopeft.cli.output import Output, unbroken
from autopeft.tuning.cost import Cost
from autopeft.tuning.limits import Limits
from autopeft.tuning.prepare import Prepared
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Score, SearchResult, TrialOutcome

_REASONS_SHOWN = 2


def preparation_view(prepared: Prepared) -> Iterator[Any]:
    """Yields what was found out about the machine, the model and the data, and what is tried first and why."""
    device, model, task = prepared.hardware.device, prepared.model, prepared.task
    facts = Table.grid(padding=(0, 2))
    splits = ", ".join(f"{name} {rows}" for name, rows in task.rows.items())
    known = {
        "machine": f"{device.name}, {device.free_memory_bytes / 2**30:.1f} GiB free",
        "dtype": f"{prepared.hardware.dtype}: {prepared.hardware.dtype_reason}",
        "model": f"{model.architecture}, {model.parameters / 1e6:.1f} M parameters, {model.layers} layers",
        "data": f"{task.task}: {splits} rows; tokens p50 {task.tokens.p50}, p95 {task.tokens.p95}",
        "labels": ", ".join(f"{label} {task.label_counts.get(label, 0)}" for label in task.labels),
    }
    for title, told in known.items():
        if told:
            facts.add_row(title, escape(told))
    yield facts
    yield "\n[bold]Tried first, and why[/bold]"
    suggestions = {s.candidate.method: s for s in reversed(prepared.recommendation.candidates)}
    for candidate in prepared.starts:
        yield Padding(f"[bold]{escape(candidate.method)}[/bold]  {escape(describe(candidate))}", (0, 0, 0, 2))
        # A study that is gone on with keeps starts that would be advised no more, and then there are no reasons; nor
        # are there for a method's second start, since the first one's are of its own rate.
        advised = suggestions.pop(candidate.method, None)
        for reason in advised.reasons[:_REASONS_SHOWN] if advised else ():
            yield Padding(f"[dim]{reason.verdict}: {escape(reason.because)}[/dim]", (0, 0, 0, 4))
    yield "  [dim]`autopeft suggest` on the same model and data names the sources.[/dim]"
    for note in prepared.notes:
        yield f"[yellow]Note:[/yellow] {escape(note)}"


def describe(candidate: Candidate) -> str:
    """Returns a candidate's settings in one short line."""
    parameters = " ".join(f"{key}={_number(value)}" for key, value in candidate.parameters.items())
    parts = [parameters, candidate.targets, f"lr={candidate.learning_rate:.2g}"]
    parts.append(f"batch={candidate.batch_size * candidate.accumulation}")
    parts += [] if candidate.layers == "all" else [candidate.layers]
    parts += [] if candidate.quantization == "none" else [candidate.quantization]
    return " ".join(part for part in parts if part and part != "none")


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def cost_view(cost: Cost, limits: Limits) -> Iterator[Any]:
    """Yields what the search will cost."""
    how = "estimated" if cost.download_bytes else "measured here"
    trials = "" if limits.trials is None else f"{limits.trials} trial{'s' if limits.trials > 1 else ''}, "
    lines = [
        f"a full trial is {cost.tokens:,} tokens, about {_minutes(cost.trial_seconds)} "
        f"at {cost.tokens_per_second:,.0f} tokens/s {how}{_beside(cost)};",
        f"{trials}the trials end in {_bound(cost, limits)}, {_clock(cost.search_seconds)}; "
        f"the comparison adds about {_minutes(cost.comparison_seconds)}, more where a finalist is slower.",
    ]
    if cost.download_bytes:
        lines.append(f"{cost.download_bytes / 1e6:,.0f} MB of weights have to be downloaded.")
    yield "\n[bold]Cost[/bold]"
    yield from (Padding(line, (0, 0, 0, 2)) for line in lines)


def _beside(cost: Cost) -> str:
    return "" if cost.at_once == 1 else f", {cost.at_once} trials at once"


def _bound(cost: Cost, limits: Limits) -> str:
    """Returns how long the trials take: at most where a time is given, else about."""
    seconds = _minutes(cost.search_seconds)
    return f"about {seconds}" if limits.seconds is None else f"{seconds} at most"


def _clock(seconds: float) -> str:
    """Returns the time of day at which so many seconds from now end, on this machine's clock."""
    return f"at {(datetime.now().astimezone() + timedelta(seconds=seconds)):%H:%M}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


class LiveView:
    """Shows a search on stderr: a bar over its trials or its time, one line per trial, the best so far."""

    def __init__(self, output: Output, limits: Limits, begun: int = 0) -> None:
        """Prepares the bar, which appears when the context is entered; ``begun`` trials were begun by earlier runs."""
        self._output, self._limits, self._begun = output, limits, begun
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[best]}"),
            TimeElapsedColumn(),
            console=output.messages,
            transient=True,
        )
        total = limits.seconds if limits.trials is None else float(limits.trials)
        self._sign = 1.0
        self._bar = self._progress.add_task("profiling", total=total, best="")

    def __enter__(self) -> "LiveView":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def prepared(self, prepared: Prepared, cost: Cost) -> None:
        """Shows the plan and the cost."""
        self._sign = prepared.objective.signed(1.0)
        for part in (*preparation_view(prepared), *cost_view(cost, self._limits)):
            self._output.say(part)

    def phase(self, text: str) -> None:
        """Shows what is being done."""
        self._progress.update(self._bar, description=text)
        self._output.say(f"{text} …")

    def trial_started(self, number: int, candidate: Candidate) -> None:
        """Names the trial in the bar."""
        self._progress.update(self._bar, description=f"trial {number} {escape(candidate.method)}")

    def trial_ended(self, outcome: TrialOutcome, best: TrialOutcome | None, spent: float) -> None:
        """Prints the trial's line and moves the bar."""
        # One that goes on has a number of its own, and the limit does not count it; nor what is lost and run again.
        self._begun += outcome.continues is None and outcome.status != "worker_lost"
        done = spent if self._limits.trials is None else self._begun
        text = ""
        if best is not None and best.score is not None:
            text = f"best {self._sign * best.score:.4f} {escape(best.candidate.method)}"
        self._progress.update(self._bar, completed=done, best=text)
        loss = f"loss {outcome.curve[-1].validation_loss:.4f}" if outcome.curve else ""
        score = "" if outcome.score is None else f"score {self._sign * outcome.score:.4f}"
        went_on = "" if outcome.continues is None else f" (after {outcome.continues})"
        line = f"{outcome.number:>3} {outcome.status:<10} {outcome.seconds:>5.1f} s  {loss} {score}{went_on}"
        self._output.say(line)
        tried = escape(f"{outcome.candidate.method} {describe(outcome.candidate)}")
        self._output.say(Padding(tried, (0, 0, 0, 5)))


def result_view(result: SearchResult) -> Iterator[Any]:
    """Yields the comparison on the test split, the differences, the counts and the files."""
    test = result.winner.test
    title = f"{escape(test.metric)} on {test.rows} test rows"
    table = Table("configuration", "validation", "test", "95 % interval", title=title)
    for name, contender in result.contenders.items():
        table.add_row(_label(name), f"{contender.validation.value:.4f}", *_tested(contender.test))
    for name, reference in result.references.items():
        table.add_row(f"[dim]{name.replace('_', ' ')}[/dim]", "", *_tested(reference))
    yield table
    yield from front_view(result)
    config = result.winner.config
    yield f"winner: [bold]{escape(config.method)}[/bold] {escape(describe(config))}"
    for name, gap in result.difference.items():
        yield f"winner minus {_label(name)}: {gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        if not gap.distinguishable:
            yield Padding("[yellow]not distinguishable from zero[/yellow]", (0, 0, 0, 2))
    yield from final_view(result)
    counts = ", ".join(f"{count} {status}" for status, count in result.trials.items() if count)
    yield f"trials: {counts}; search {result.seconds:.0f} s (overhead {result.overhead_seconds:.0f} s)"
    yield f"trained for the comparison: {_seconds(result)};"
    yield f"  the comparison took {result.comparison_seconds:.0f} s in all"
    for note in result.notes:
        yield f"[yellow]Note:[/yellow] {escape(note)}"
    yield unbroken(f"\n{result.output}/tuned.yaml  ready for full training")
    yield unbroken(f"{result.output}/trials.csv  the trials")
    yield unbroken(f"{result.output}/report.html  what was tried, and why the winner won")


def _label(name: str) -> str:
    return name.replace("_lora", " LoRA")


def _tested(score: Score) -> tuple[str, str]:
    return f"{score.value:.4f}", f"{score.low:.4f} to {score.high:.4f}"


def _seconds(result: SearchResult) -> str:
    return ", ".join(f"{_label(name)} {contender.seconds:.0f} s" for name, contender in result.contenders.items())
