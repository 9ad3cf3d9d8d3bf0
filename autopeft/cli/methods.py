"""`autopeft methods`: the catalogue, and one method in full, printed from what methods declare."""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli.output import Output

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from autopeft.methods import Method
    from autopeft.tuning.space import Range


def command(
    name: Annotated[str | None, typer.Argument(help="One method, to see it in full.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the methods, or show one method's parameters, capabilities and paper."""
    from autopeft.methods import all_methods, get_method

    output = Output(as_json=as_json)
    if name is None:
        methods = list(all_methods().values())
        output.result([summary(method) for method in methods], *_catalogue(methods))
        return
    method = get_method(name)
    value = {**summary(method), **details(method)}
    output.result(value, *_page(value))


def summary(method: "Method") -> dict[str, Any]:
    """Returns what the catalogue says of a method, ready for JSON."""
    able = method.capabilities
    return {
        "name": method.name,
        "title": method.title,
        "family": method.family,
        "summary": method.summary,
        "quantized_base": able.quantized_base,
        "mergeable": able.mergeable,
        "adds_latency": able.adds_latency,
        "changes_base": able.changes_base,
        "paper": method.paper,
    }


def details(method: "Method") -> dict[str, Any]:
    """Returns what the page of one method adds: its parameters with both ranges, its seeds and capabilities."""
    from autopeft.tuning.space import load_space

    space = load_space(method.name)
    legal = {"learning_rate": method.learning_rate, **method.legal}
    searched = {"learning_rate": space.learning_rate, **space.parameters}
    return {
        "parameters": {name: {"legal": domain(legal[name]), "searched": range_words(searched[name])} for name in legal},
        "searched": {
            "targets": space.targets,
            "layers": space.layers,
            "quantization": space.quantization,
            "optimizer": space.optimizer,
            "batch_size": space.batch_size,
        },
        "capabilities": method.capabilities,
        "seeds": list(method.seeds),
        "baselines": dict(method.baseline),
    }


def domain(distribution: "BaseDistribution") -> str:
    """Returns a legal domain in words: ``1 … 256``, ``0.0 … 0.5``, ``1e-05 … 0.01 (log)`` or ``a | b``."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return " | ".join(str(choice) for choice in distribution.choices)
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        raise TypeError(f"{distribution!r} is no kind of domain that methods may declare.")
    step = f" in steps of {distribution.step:g}" if distribution.step not in (None, 1) else ""
    scale = " (log)" if distribution.log else ""
    return f"{distribution.low:g} … {distribution.high:g}{step}{scale}"


def range_words(searched: "Range") -> str:
    """Returns a searched range in the same words as a legal domain."""
    if searched.choices:
        return " | ".join(str(choice) for choice in searched.choices)
    return f"{searched.low:g} … {searched.high:g}{' (log)' if searched.log else ''}"


def _catalogue(methods: "list[Method]") -> tuple[Any, ...]:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("\nMethod", "\nFamily", "4-bit\nbase", "\nMerges", "Latency\nafter", "Changes\nbase", "\nPaper"):
        table.add_column(title, no_wrap=True)
    for method in methods:
        able = method.capabilities
        table.add_row(
            method.name,
            method.family,
            _yes(able.quantized_base),
            _yes(able.mergeable),
            _yes(able.adds_latency),
            _yes(able.changes_base),
            _short(method.paper.address, method.paper.year),
        )
    return table, f"\n{len(methods)} methods; `autopeft methods NAME` shows one in full."


def _yes(value: bool) -> str:
    return "yes" if value else "–"


def _short(address: str, year: int) -> str:
    """Returns an arXiv number where the address is one, else the year."""
    return address.rstrip("/").split("/")[-1] if "arxiv.org" in address else str(year)


def _page(value: dict[str, Any]) -> tuple[Any, ...]:
    paper = value["paper"]
    head = (
        f"[bold]{value['title']}[/bold] ({value['name']}, {value['family']})",
        value["summary"],
        f"Paper: {paper.title} ({paper.year}), {paper.address}",
        "",
    )
    tables = (_parameter_table(value["parameters"]), "", _choice_table("Searched besides", value["searched"]))
    able = {field.name: getattr(value["capabilities"], field.name) for field in fields(value["capabilities"])}
    return (*head, *tables, "", _choice_table("Capability", able), *_seeds(value))


def _parameter_table(parameters: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Parameter", "Legal", "Searched by default"):
        table.add_column(title, overflow="fold")
    for name, ranges in parameters.items():
        table.add_row(name.replace("_", " "), ranges["legal"], ranges["searched"])
    return table


def _choice_table(title: str, rows: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(title, no_wrap=True)
    table.add_column("", overflow="fold")
    for name, value in rows.items():
        words = _yes(value) if isinstance(value, bool) else ", ".join(str(item) for item in value) or "–"
        table.add_row(name.replace("_", " "), words)
    return table


def _seeds(value: dict[str, Any]) -> list[Any]:
    from rich.padding import Padding
    from rich.text import Text

    lines: list[Any] = ["\n[bold]What is tried first[/bold]"]
    for seed in value["seeds"]:
        settings = ", ".join(f"{key} {setting}" for key, setting in seed.parameters.items())
        tried = Text(f"{settings or 'no parameters'}; targets {seed.targets}, rate {seed.learning_rate:g}")
        lines.append(Padding(tried, (0, 0, 0, 2), expand=False))
        lines.append(Padding(Text(seed.source, style="dim"), (0, 0, 0, 4), expand=False))
    return lines
