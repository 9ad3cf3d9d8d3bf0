"""The learning rate stays where the warm-up has brought it."""

from autopeft.schedules._declaration import Schedule


def _factor(_step: int, _steps: int) -> float:
    return 1.0


SCHEDULE = Schedule(
    name="constant",
    title="constant",
    factor=_factor,
    trainer_name="constant_with_warmup",
    source="Dettmers et al., QLoRA, arXiv 2305.14314, appendix B: constant for all of its fine-tuning runs",
)
