"""Processes that a search will most likely have are started while it is prepared, and none is left over."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autopeft.errors import DataError
from autopeft.tuning import opening
from autopeft.tuning.crew import Crew, crew_expected
from autopeft.tuning.limits import Limits
from autopeft.tuning.opening import _manned
from autopeft.tuning.spread import Spread
from autopeft.values.candidates import Team
from tests.tuning.test_crew import machine

TIMED = Limits(seconds=60.0)
TWO = Crew(size=2, gpus=(), threads=1)
THREE = Crew(size=3, gpus=(), threads=1)


@dataclass
class Hands:
    """Notes what becomes of it."""

    crew: Crew
    _logs: Path
    did: list[str] = field(default_factory=list)

    def __post_init__(self):
        everyone.append(self)

    def start(self):
        self.did.append("started")

    def tell(self, prepared):
        self.did.append(f"told {prepared}")

    def release(self):
        self.did.append("released")


everyone: list[Hands] = []


def manned(monkeypatch, expected, found, prepare=lambda *_, **__: "a search"):
    """Returns who trains, and what became of all that were made until then."""
    everyone.clear()
    monkeypatch.setattr(opening, "Hands", Hands)
    monkeypatch.setattr(opening, "prepare", prepare)
    monkeypatch.setattr(opening, "crew_expected", lambda *_: expected)
    monkeypatch.setattr(opening, "crew_for", lambda *_: found)
    folder: Any = SimpleNamespace(workers=Path("workers"), encoded=None)
    request: Any = SimpleNamespace(constraints=SimpleNamespace(team=Team()))
    with _manned(request, folder, TIMED, Spread()) as (_, crew, hands):
        assert crew == found
        trains: Any = hands
        return (None if trains is None else everyone.index(trains)), [list(made.did) for made in everyone]


def test_who_was_expected_is_told_of_the_search(monkeypatch):
    """The processes that were started ahead train."""
    assert manned(monkeypatch, TWO, TWO) == (0, [["started", "told a search"]])
    assert everyone[0].did[-1] == "released"


def test_who_was_not_expected_takes_their_place(monkeypatch):
    """Others end before the search begins, as where three do not fit and two do, and where nobody else trains."""
    assert manned(monkeypatch, THREE, TWO) == (1, [["started", "released"], ["told a search"]])
    assert everyone[1].did[-1] == "released"
    assert manned(monkeypatch, THREE, None) == (None, [["started", "released"]])


def test_nobody_is_started_for_what_cannot_be_told(monkeypatch):
    """Where nothing can be said before model and data are read, processes start when they are asked."""
    assert manned(monkeypatch, None, TWO) == (0, [["told a search"]])
    assert manned(monkeypatch, None, None) == (None, [])


def test_bad_input_leaves_no_process(monkeypatch):
    """A search that cannot be prepared ends those that it has started."""

    def refused(*_, **__):
        raise DataError("There are no rows.")

    with pytest.raises(DataError, match="There are no rows"):
        manned(monkeypatch, TWO, TWO, refused)
    assert [made.did for made in everyone] == [["started", "released"]]


@pytest.mark.parametrize(
    ("spread", "stops", "gpus", "free", "size"),
    [
        (Spread(), TIMED, 0, 2**34, 3),
        (Spread(workers=2), Limits(trials=9), 0, 2**34, 2),
        (Spread(), Limits(trials=9), 0, 2**34, None),
        (Spread(), TIMED, 0, 3 * 2**30 - 1, None),
        (Spread(workers=2), TIMED, 2, 2**34, None),
    ],
    ids=["unasked", "asked", "one process", "too little memory", "cards"],
)
def test_a_crew_is_expected_on_processors_with_memory_to_spare(spread, stops, gpus, free, size):
    """As many as would be started if everything fits; what they load must not itself be what does not."""
    here = machine(gpus)
    devices = tuple(replace(device, free_memory_bytes=free) for device in here.devices)
    crew = crew_expected(spread, replace(here, devices=devices), stops)
    assert (None if crew is None else crew.size) == size
