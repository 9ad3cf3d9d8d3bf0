"""Which inference servers take what a method trains: as an adapter, or once it is merged into the weights."""

from typing import Literal

from autopeft.errors import unknown
from autopeft.methods import Method

SERVERS = ("vllm", "sglang", "tgi", "lorax", "llama.cpp", "transformers")

Served = Literal["as an adapter", "once merged"]


def check_server(name: str) -> str:
    """Returns the name of a server.

    Raises:
        InvalidValueError: it is not one that methods declare.
    """
    if name not in SERVERS:
        raise unknown("--serve", "the constraints", name, SERVERS)
    return name


def served(method: Method, server: str) -> Served | None:
    """Returns how a server takes what the method trains; None where it does not.

    transformers runs the method's own modules, whatever they are. Weights that an update was merged into are a model
    like any other.
    """
    able = method.capabilities
    if server == "transformers" or server in able.servers:
        return "as an adapter"
    return "once merged" if able.mergeable and not able.adds_latency else None
