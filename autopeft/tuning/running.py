"""A trial that is being run at this moment, as the others see it."""

from dataclasses import dataclass

from autopeft.values.candidates import Candidate


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial that some process is running.

    Attributes:
        losses: validation loss of each reading so far, those before it was continued included.
        continues: the trial that it goes on from, None for one that began anew.
        place: the output folder that its state will lie in, where several machines share a study.
        candidate: None while it is being drawn.
    """

    number: int
    losses: tuple[float, ...] = ()
    continues: int | None = None
    place: str = ""
    candidate: Candidate | None = None
