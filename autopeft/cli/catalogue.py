"""What the catalogue says, read from the declarations: one row for each thing that a candidate can name."""

from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any

from autopeft.cli.reference import seven_billion
from autopeft.methods import all_methods
from autopeft.methods._omitted import OMITTED
from autopeft.optimizers import all_optimizers
from autopeft.quantization import all_quantizations
from autopeft.schedules import all_schedules
from autopeft.values.candidates import Candidate, Setup

if TYPE_CHECKING:
    from autopeft.methods import Method
    from autopeft.optimizers import Optimizer
    from autopeft.quantization import Quantization
    from autopeft.schedules import Schedule

SERVERS = {"vllm": "vLLM", "tgi": "TGI", "llama.cpp": "llama.cpp"}
"""Servers that the table tells apart; llama.cpp takes adapters converted to its own format."""

Row = dict[str, Any]


@cache
def rows() -> tuple[Row, ...]:
    """Returns every row: methods with compositions and initializations, optimizers, schedules, quantization.

    What peft has and autopeft leaves out comes last, each with its reason.
    """
    return (
        *(method_row(method) for method in all_methods().values()),
        *(optimizer_row(optimizer) for optimizer in all_optimizers().values()),
        *(schedule_row(schedule) for schedule in all_schedules().values()),
        *(quantization_row(scheme) for scheme in all_quantizations().values()),
        *({"name": name, "kind": "omitted", "reason": reason} for name, reason in sorted(OMITTED.items())),
    )


def method_row(method: "Method") -> Row:
    """Returns what the catalogue says of a method, ready for JSON."""
    able = method.capabilities
    return {
        "name": method.name,
        "kind": method.kind,
        "title": method.title,
        "family": method.family,
        "summary": method.summary,
        "trainable_share_7b": share(method),
        "quantized_base": able.quantized_base,
        "mergeable": able.mergeable,
        "adds_latency": able.adds_latency,
        "changes_base": able.changes_base,
        "servers": able.servers,
        "served": served(method),
        "paper": method.paper,
    }


def share(method: "Method") -> float | None:
    """Returns the share of a 7-billion-parameter decoder that the method's first seed that fits it trains.

    None where no seed does. A method that needs a quantized base is asked about one.
    """
    model = seven_billion()
    for seed, quantization in product(method.seeds, ("none", "nf4")):
        candidate = Candidate(
            method=method.name, parameters=dict(seed.parameters), learning_rate=seed.learning_rate,
            targets=seed.targets if method.capabilities.takes_targets else "none", quantization=quantization,
        )  # fmt: skip
        setup = Setup(model=model, task="generation", candidate=candidate)
        if not method.violations(setup):
            return method.trainable(setup) / model.parameters
    return None


def served(method: "Method") -> tuple[str, ...]:
    """Returns who serves a trained model: named servers, ``merged`` for all once merged, else transformers only."""
    known = tuple(words for server, words in SERVERS.items() if server in method.capabilities.servers)
    return known or (("merged",) if method.capabilities.mergeable else ("transformers",))


def optimizer_row(optimizer: "Optimizer") -> Row:
    """Returns what the catalogue says of an optimizer."""
    return {
        "name": optimizer.name,
        "kind": optimizer.kind,
        "title": optimizer.title,
        "state_bytes_per_parameter": optimizer.state_bytes_per_parameter,
        "needs_cuda": optimizer.needs_cuda,
        "options": optimizer.options,
        "source": optimizer.source,
    }


def schedule_row(schedule: "Schedule") -> Row:
    """Returns what the catalogue says of a learning-rate schedule."""
    return {"name": schedule.name, "kind": schedule.kind, "title": schedule.title, "source": schedule.source}


def quantization_row(scheme: "Quantization") -> Row:
    """Returns what the catalogue says of a way to store the base."""
    return {
        "name": scheme.name,
        "kind": scheme.kind,
        "title": scheme.title,
        "bits": scheme.bits,
        "bytes_per_weight": scheme.bytes_per_weight,
        "source": scheme.source,
    }
