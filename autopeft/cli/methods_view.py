"""The catalogue as tables, and one entry as a page."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from autopeft.cli.catalogue import SERVERS, Row, rows

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 110
"""Columns of a terminal from which servers are named in full."""
LEAST_SHARE = 1e-5
"""A share below it is written as less than it."""
_WRAPPED = ("What it is", "Why")
_LETTERS = {"vLLM": "V", "TGI": "T", "llama.cpp": "L", "merged": "merged", "transformers": "–"}
KINDS = {"method": "Methods", "composition": "Two methods together", "initialization": "Initialisations of LoRA"}


def catalogue(width: int) -> tuple[Any, ...]:
    """Returns the whole catalogue for a terminal of a width."""
    entries = rows()
    parts: list[Any] = []
    for kind, title in KINDS.items():
        some = [row for row in entries if row["kind"] == kind]
        parts += [f"\n[bold]{title}[/bold] ({len(some)})", _methods(some, wide=width >= WIDE)]
    optimizers = [row for row in entries if row["kind"] == "optimizer"]
    schedules = [row for row in entries if row["kind"] == "schedule"]
    schemes = [row for row in entries if row["kind"] == "quantization"]
    omitted = [row for row in entries if row["kind"] == "omitted"]
    return (
        *parts, "", _legend(wide=width >= WIDE),
        f"\n[bold]Optimizers[/bold] ({len(optimizers)}), state in bytes per trained parameter", _optimizers(optimizers),
        f"\n[bold]Learning-rate schedules[/bold] ({len(schedules)}), after the warm-up", _schedules(schedules),
        f"\n[bold]Quantization of the base[/bold] ({len(schemes)})", _schemes(schemes),
        *((f"\n[bold]In peft, but left out[/bold] ({len(omitted)})", _omitted(omitted)) if omitted else ()),
        "\n`autopeft methods NAME` shows one in full.",
    )  # fmt: skip


def _legend(*, wide: bool) -> str:
    servers = "" if wide else "; ".join(f"{_LETTERS[words]} = {words}" for words in SERVERS.values()) + "; "
    return (
        "7B: percent of a 7-billion-parameter decoder that the first fitting seed trains. Latency: slower inference "
        f"once deployed, merged where it can be. Served by: {servers}merged = anyone, once merged; – = transformers "
        "only. llama.cpp takes adapters converted to GGUF."
    )


def _table(titles: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        table.add_column(title, no_wrap=title not in _WRAPPED)
    return table


def _methods(some: Iterable[Row], *, wide: bool) -> "Table":
    table = _table(("Name", "Family", "Paper", "7B, %", "4-bit", "Merges", "Latency", "Served by"))
    table.columns[3].justify = "right"
    for row in some:
        names = row["served"]
        servers = ", ".join(names) if wide else " ".join(_LETTERS[name] for name in names)
        table.add_row(
            row["name"], row["family"], paper_words(row), percent(row["trainable_share_7b"]),
            yes(row["quantized_base"]), yes(row["mergeable"]), yes(row["adds_latency"]), servers,
        )  # fmt: skip
    return table


def _optimizers(some: Iterable[Row]) -> "Table":
    table = _table(("Name", "State", "CUDA only", "What it is"))
    for row in some:
        size = f"{row['state_bytes_per_parameter']:.3g}"
        table.add_row(row["name"], size, yes(row["needs_cuda"]), row["title"])
    return table


def _schedules(some: Iterable[Row]) -> "Table":
    table = _table(("Name", "What it is"))
    for row in some:
        table.add_row(row["name"], row["title"])
    return table


def _schemes(some: Iterable[Row]) -> "Table":
    table = _table(("Name", "Bytes per weight", "What it is"))
    for row in some:
        table.add_row(row["name"], bytes_words(row["bytes_per_weight"]), row["title"])
    return table


def _omitted(some: Iterable[Row]) -> "Table":
    table = _table(("Name", "Why"))
    for row in some:
        table.add_row(row["name"], row["reason"])
    return table


def yes(value: bool) -> str:
    """Returns ``yes`` or a dash."""
    return "yes" if value else "–"


def bytes_words(value: float | None) -> str:
    """Returns the bytes of a weight; without quantization they are the dtype's."""
    return "the dtype's" if value is None else f"{value:.3g}"


def share_words(share: float | None) -> str:
    """Returns a share with its sign, a dash where there is none."""
    return percent(share) if share is None else f"{percent(share)} %"


def percent(share: float | None) -> str:
    """Returns a share in percent with two digits that count; a dash where there is none."""
    if share is None:
        return "–"
    if share < LEAST_SHARE:
        return f"<{100 * LEAST_SHARE:g}"
    return f"{100 * share:.2g}" if share < 1 else f"{100 * share:.0f}"


def paper_words(row: Row) -> str:
    """Returns an arXiv number where the paper's address is one, else its year."""
    paper = row["paper"]
    return paper.address.rstrip("/").split("/")[-1] if "arxiv.org" in paper.address else str(paper.year)


def page(value: Row) -> tuple[Any, ...]:
    """Returns one entry in full."""
    if "parameters" not in value:
        return (f"[bold]{value['name']}[/bold] ({value['kind']})", _choice_table("", _facts(value)))
    paper = value["paper"]
    head = (
        f"[bold]{value['title']}[/bold] ({value['name']}, {value['family']}, {value['kind']})",
        value["summary"],
        f"Paper: {paper.title} ({paper.year}), {paper.address}",
        f"Trains {share_words(value['trainable_share_7b'])} of a 7-billion-parameter decoder, as first tried.",
        f"Served by: {', '.join(value['served'])}.",
        "",
    )
    tables = (_parameter_table(value["parameters"]), "", _choice_table("Searched besides", value["searched"]))
    able = {field.name: getattr(value["capabilities"], field.name) for field in fields(value["capabilities"])}
    return (*head, *tables, "", _choice_table("Capability", able), *_seeds(value))


def _facts(value: Row) -> Row:
    options = value.get("options")
    words = {"options": [f"{key} {number:g}" for key, number in options.items()]} if options is not None else {}
    return {key: fact for key, fact in {**value, **words}.items() if key not in ("name", "kind")}


def _parameter_table(parameters: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("Parameter", "Legal", "Searched by default"):
        table.add_column(title, overflow="fold")
    for name, ranges in parameters.items():
        table.add_row(name.replace("_", " "), ranges["legal"], ranges["searched"])
    return table


def _choice_table(title: str, choices: Row) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, show_header=bool(title))
    table.add_column(title, no_wrap=True)
    table.add_column("", overflow="fold")
    for name, value in choices.items():
        table.add_row(name.replace("_", " "), _words(value))
    return table


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return yes(value)
    if isinstance(value, int | float | str):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    return ", ".join(str(item) for item in value or ()) or "–"


def _seeds(value: Row) -> list[Any]:
    from rich.padding import Padding
    from rich.text import Text

    lines: list[Any] = ["\n[bold]What is tried first[/bold]"]
    for seed in value["seeds"]:
        settings = ", ".join(f"{key} {setting}" for key, setting in seed.parameters.items())
        tried = Text(f"{settings or 'no parameters'}; targets {seed.targets}, rate {seed.learning_rate:g}")
        lines.append(Padding(tried, (0, 0, 0, 2), expand=False))
        lines.append(Padding(Text(seed.source, style="dim"), (0, 0, 0, 4), expand=False))
    return lines
