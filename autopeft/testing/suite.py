"""The whole contract in one call, for a method of your own."""

from functools import partial
from pathlib import Path

from autopeft.methods import Method
from autopeft.profiling.model import read_model
from autopeft.testing import contract
from autopeft.testing._observe import require
from autopeft.testing.cases import QUANTIZED_PLACES, SCHEMES, awkward, cases, quantized
from autopeft.testing.models import ARCHITECTURES, tiny_model_folder


def check_method(method: Method, folder: Path) -> tuple[str, ...]:
    """Holds a method to the whole contract, in a few seconds, and returns the names of the places it was tried in.

    Its declaration, then every check on each tiny model it claims, setups asked for by mistake, and a quantized base.

    Args:
        method: the declaration, as its module has it.
        folder: where the tiny models are written.

    Raises:
        ContractError: a rule is broken; the message says which and where.
    """
    contract.check_facts(method)
    folders = {name: tiny_model_folder(name, folder / name) for name in ARCHITECTURES}
    found = cases(method, folders, read_model)
    require(bool(found), f"{method.name} refuses every tiny model it is tried on.")
    for case in found:
        contract.check(method, case)
    for case in awkward(found[0]):
        contract.check_violations_match_apply(method, case)
    places = {(case.setup.model.model_type, case.setup.task): case for case in found}
    for number, place in enumerate(place for place in QUANTIZED_PLACES if place in places):
        for scheme in SCHEMES:
            case = places[place]
            contract.check_quantized_base(method, case, scheme, partial(quantized, case, scheme), briefly=number > 0)
    return tuple(case.name for case in found)
