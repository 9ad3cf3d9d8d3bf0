"""The learning rate falls in a straight line to zero."""

from autopeft.schedules._declaration import Schedule


def _factor(step: int, steps: int) -> float:
    return 1 - step / steps


SCHEDULE = Schedule(
    name="linear",
    title="linear fall to zero",
    factor=_factor,
    trainer_name="linear",
    source="Defazio et al., arXiv 2310.07831: matches or outperforms the usual schedules on ten problems",
)
