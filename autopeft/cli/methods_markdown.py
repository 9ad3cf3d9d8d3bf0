"""The catalogue as a page of the docs: ``autopeft methods --markdown > docs/methods.md``."""

from collections.abc import Iterable, Sequence

from autopeft.cli.catalogue import Row, rows
from autopeft.cli.methods_view import KINDS, bytes_words, paper_words, share_words, yes

_HEAD = """# Methods, optimizers, schedules and quantization

Written by `autopeft methods --markdown` from what the entries declare; do not edit it.

- 7B: share of a 7-billion-parameter decoder (Llama 2's sizes) that the first fitting seed trains, or a dash.
- Latency: slower inference once deployed, merged where it can be merged.
- Served by: who takes the trained adapter as it is (llama.cpp after conversion to GGUF); *merged*: anyone, once merged.
"""


def document() -> str:
    """Returns the page."""
    entries = rows()
    parts = [_HEAD]
    for kind, title in KINDS.items():
        some = [row for row in entries if row["kind"] == kind]
        parts.append(f"## {title}\n\n{_methods(some)}")
    parts.append(f"## Optimizers\n\n{_optimizers([row for row in entries if row['kind'] == 'optimizer'])}")
    parts.append(f"## Learning-rate schedules\n\n{_schedules([r for r in entries if r['kind'] == 'schedule'])}")
    parts.append(f"## Quantization of the base\n\n{_schemes([r for r in entries if r['kind'] == 'quantization'])}")
    omitted = [row for row in entries if row["kind"] == "omitted"]
    if omitted:
        body = _table(("name", "why"), [(f"`{row['name']}`", row["reason"]) for row in omitted])
        parts.append(f"## In peft, but left out\n\n{body}")
    return "\n".join(parts)


def _table(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    written = [titles, ["---"] * len(titles), *lines]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in written)


def _methods(some: Iterable[Row]) -> str:
    titles = ("name", "family", "paper", "7B", "4-bit base", "merges", "latency", "served by", "what it does")
    return _table(
        titles,
        [
            (
                f"`{row['name']}`", row["family"], f"[{paper_words(row)}]({row['paper'].address})",
                share_words(row["trainable_share_7b"]), yes(row["quantized_base"]), yes(row["mergeable"]),
                yes(row["adds_latency"]), ", ".join(row["served"]), row["summary"],
            )
            for row in some
        ],
    )  # fmt: skip


def _optimizers(some: Iterable[Row]) -> str:
    titles = ("name", "state, bytes per parameter", "needs CUDA", "what it is", "source")
    lines = [
        (
            f"`{row['name']}`",
            f"{row['state_bytes_per_parameter']:.3g}",
            yes(row["needs_cuda"]),
            row["title"],
            row["source"],
        )
        for row in some
    ]
    return _table(titles, lines)


def _schedules(some: Iterable[Row]) -> str:
    return _table(
        ("name", "after the warm-up", "source"), [(f"`{row['name']}`", row["title"], row["source"]) for row in some]
    )


def _schemes(some: Iterable[Row]) -> str:
    titles = ("name", "bytes per weight", "what it is", "source")
    lines = [(f"`{row['name']}`", bytes_words(row["bytes_per_weight"]), row["title"], row["source"]) for row in some]
    return _table(titles, lines)
