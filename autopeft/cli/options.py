"""Parsing of option values that several commands share."""

import os
import re
from collections.abc import Sequence
from typing import Annotated

import typer

from autopeft.environment import trust_remote_code
from autopeft.errors import invalid
from autopeft.profiling.sizes import parse_count


def _let_code_run(context: typer.Context, value: bool) -> bool:
    """Lets a model's own code run until the command has ended, and says so."""
    if value:
        context.with_resource(trust_remote_code())
        typer.echo("Code that the model brings along may run: --trust-remote-code.", err=True)
    return value


TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", callback=_let_code_run, help="Let code that the model brings along run: read it before."
    ),
]
"""Of each command that reads a model or a tokenizer; what is asked for holds in all that the command calls."""

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(text: str, *, key: str = "--time", owner: str = "autopeft search") -> float:
    """Returns a duration such as ``90``, ``45s``, ``10m`` or ``1.5h`` in seconds.

    Raises:
        InvalidValueError: it is not a positive duration.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise invalid(key, owner, "a positive duration such as 45s, 10m or 1.5h", text)
    return float(match[1]) * _UNITS[match[2]]


def parse_tokens(text: str) -> int:
    """Returns a number of tokens such as ``500000``, ``500k`` or ``2M``.

    Raises:
        InvalidValueError: it is not a positive number.
    """
    tokens = parse_count(text)
    if tokens is None:
        raise invalid("--tokens", "autopeft search", "a positive count such as 500k or 2M", text)
    return tokens


def seconds_for(cost: str | None, price: str | None) -> float | None:
    """Returns the seconds that ``--cost 5USD`` buys at ``--price 1.2/h``, None where neither is given.

    Raises:
        InvalidValueError: one is given without the other, or is not a positive amount.
    """
    if cost is None and price is None:
        return None
    paid = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]{3}|[$€£])?", (cost or "").strip())
    if paid is None or float(paid[1]) <= 0:
        raise invalid("--cost", "autopeft search", "a positive amount such as 5USD, together with --price", cost)
    hourly = re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*h", (price or "").strip())
    if hourly is None or float(hourly[1]) <= 0:
        raise invalid(
            "--price", "autopeft search", "a positive amount per hour such as 1.2/h, together with --cost", price
        )
    return float(paid[1]) / float(hourly[1]) * 3600


def parse_columns(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """Returns ``ROLE=NAME`` pairs as a mapping, None where there are none.

    Raises:
        InvalidValueError: a pair has no equals sign, or a role is given twice.
    """
    if not pairs:
        return None
    found: dict[str, str] = {}
    for pair in pairs:
        role, _, name = pair.partition("=")
        if not role or not name:
            raise invalid("--column", "the command", "ROLE=NAME, such as text=review", pair)
        if role in found:
            raise invalid("--column", "the command", "given once for each role", role)
        found[role] = name
    return found


def parse_settings(pairs: Sequence[str] | None) -> dict[str, str]:
    """Returns ``NAME=VALUE`` pairs as a mapping; a value may hold an equals sign.

    Raises:
        InvalidValueError: a pair has no equals sign, or a name is given twice.
    """
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, _, value = (part.strip() for part in pair.partition("="))
        if not name or not value:
            raise invalid("--set", "the command", "NAME=VALUE, such as rank=16", pair)
        if name in found:
            raise invalid("--set", "the command", "given once for each name", name)
        found[name] = value
    return found


def parse_names(text: str | None) -> tuple[str, ...]:
    """Returns names separated by commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def parse_gpus(text: str | None) -> tuple[str, ...]:
    """Returns the names of GPUs, and leaves this process no others: it must be called before CUDA is.

    Raises:
        InvalidValueError: a name is empty or is given twice.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise invalid("--gpus", "the command", "names of different GPUs, such as 0,1,2,3", text)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names)
    return names


def leave_freest_gpu() -> None:
    """Leaves this process, of several GPUs, the one that is planned for: it must be called before CUDA is.

    Of a machine split by MIG that is one slice, by the name of its own.
    """
    from autopeft.profiling.hardware import probe_hardware
    from autopeft.profiling.usable import claim

    hardware = probe_hardware()
    if len(hardware.devices) < 2:
        return
    if hardware.device.exclusive:
        claim(hardware.device)
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[hardware.selected].strip()
        return
    os.environ["CUDA_VISIBLE_DEVICES"] = str(hardware.device.index)
