"""`autopeft methods`: the catalogue, and one entry in full, printed from what the entries declare."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli.output import Output
from autopeft.errors import invalid, unknown

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from autopeft.methods import Method
    from autopeft.tuning.space import Range


def command(
    name: Annotated[str | None, typer.Argument(help="One entry, to see it in full; or an import path.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the catalogue as docs/methods.md.")] = False,
) -> None:
    """List methods, optimizers, schedules and quantization, or show one in full with its ranges, seeds and paper."""
    from autopeft.cli import methods_view
    from autopeft.cli.catalogue import rows

    if markdown:
        if as_json or name is not None:
            beside = "--json" if as_json else name
            raise invalid("--markdown", "autopeft methods", "given alone: the page is the whole catalogue", beside)
        from autopeft.cli.methods_markdown import document

        print(document(), end="")  # noqa: T201
        return
    output = Output(as_json=as_json)
    if name is None:
        output.result(list(rows()), *methods_view.catalogue(output.width))
        return
    value = entry(name)
    output.result(value, *methods_view.page(value))


def entry(name: str) -> dict[str, Any]:
    """Returns everything that is declared under a name: of the catalogue, or of a module of one's own.

    Raises:
        InvalidValueError: nothing goes by this name; the closest match is offered.
    """
    from autopeft.cli.catalogue import method_row, rows
    from autopeft.methods import all_methods, get_method, is_own

    if name in all_methods() or is_own(name):
        method = get_method(name)
        return {**method_row(method), **details(method)}
    others = {row["name"]: row for row in rows()}
    if name not in others:
        raise unknown("method", "the catalogue", name, others)
    return others[name]


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
            "schedule": space.schedule,
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
