"""What cannot train in several processes at once, said before anything is loaded."""

from autopeft.methods import Method, get_method
from autopeft.optimizers import get_optimizer
from autopeft.quantization import get_quantization
from autopeft.values.candidates import Candidate, Team
from autopeft.values.names import ModelKind


def undivided_method(method: Method, team: Team) -> tuple[str, ...]:
    """Returns why a method cannot be trained by a team, whatever its parameters."""
    if team.alone:
        return ()
    if method.prepare is not None:
        return ("It starts from data, in one process that holds the whole model.",)
    if team.sharded and not method.capabilities.shardable:
        return ("Its parameters cannot be sharded.",)
    return ()


def undivided(candidate: Candidate, kind: ModelKind, team: Team) -> tuple[str, ...]:
    """Returns why a candidate cannot be trained by a team, on a model of that kind."""
    because = list(undivided_method(get_method(candidate.method), team))
    if team.alone:
        return ()
    if candidate.layers.startswith("gradient:") and candidate.layer_indices is None:
        because.append("`layers` by gradients are found in one process that holds the whole model.")
    if not team.sharded:
        return tuple(because)
    if kind == "seq2seq":
        because.append("An encoder-decoder, whose stacks share their embeddings, cannot be sharded.")
    if not get_quantization(candidate.quantization).shardable:
        because.append(f"A base quantized to {candidate.quantization} cannot be sharded.")
    if not get_optimizer(candidate.optimizer).shardable:
        because.append(f"The state of {candidate.optimizer} cannot be sharded.")
    if candidate.dtype == "float16":
        because.append("Gradients in float16 are scaled by what all processes see, which sharding does not share.")
    return tuple(because)
