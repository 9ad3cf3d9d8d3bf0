"""How a search is spread: over processes of this machine, over machines, over a cluster."""

from dataclasses import dataclass

from autopeft.tuning.storage import Beats


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Where trials run.

    Attributes:
        workers: processes on this machine; None for one per GPU where ``gpus`` are named, else for as many as suit
            (`autopeft.tuning.crew.crew_unasked`), mostly none beside this.
        gpus: names as ``CUDA_VISIBLE_DEVICES`` has them, one process for each; this process is left no others.
        storage: URL of the database that machines share; None keeps the study in the output folder.
        study: its name there.
        ray: address of a Ray cluster that trains, empty for the one that Ray finds or starts; None for none.
        beats: how workers that share a database are missed; None for the default.
    """

    workers: int | None = None
    gpus: tuple[str, ...] = ()
    storage: str | None = None
    study: str = "autopeft"
    ray: str | None = None
    beats: Beats | None = None

    @property
    def processes(self) -> int:
        """How many processes of this machine train at once; a cluster's are not told here."""
        return 1 if self.ray is not None else self.workers or len(self.gpus) or 1
