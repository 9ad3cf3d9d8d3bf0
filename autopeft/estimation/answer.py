"""The answer to a question of cost: the estimate, whether it fits, and what would be the most that does."""

from dataclasses import dataclass, replace

from autopeft.estimation.estimate import estimate
from autopeft.estimation.fragmentation import fragmentation_notes
from autopeft.estimation.maximize import Target, largest_that_fits, maximize_target, possible_values
from autopeft.estimation.question import Plan, Question, plan
from autopeft.estimation.remedies import Remedy, remedies
from autopeft.estimation.strategy import on_devices
from autopeft.profiling.sizes import format_bytes
from autopeft.values.candidates import Estimate
from autopeft.values.costs import RunCost

NARROW = 1 << 30
"""Headroom below which a display or another program can make the difference."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a run costs on one device.

    Attributes:
        estimate: of the run, or of the largest that fits where that was asked for and there is one.
        maximum: the largest batch size, sequence length or rank that fits; None where that was not asked for or
            nothing fits.
        remedies: what would lower the peak, the most effective first; empty where the run fits.
        notes: what was assumed, what corrected the estimate, and what to watch.
    """

    plan: Plan
    estimate: Estimate
    maximize: Target | None = None
    maximum: int | None = None
    remedies: tuple[Remedy, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def headroom_bytes(self) -> int:
        """What is left of the memory that may be used; negative where it is exceeded."""
        return self.plan.limit_bytes - self.estimate.memory.total_bytes

    @property
    def fits(self) -> bool:
        """Whether reserved memory and context stay within what may be used."""
        return self.headroom_bytes >= 0

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens of all devices, padding included; None where the device's speed is not known."""
        seconds = self.estimate.step_seconds
        if not seconds:
            return None
        candidate = self.plan.setup.candidate
        return candidate.batch_size * candidate.accumulation * self.plan.tokens * self.plan.devices / seconds


def run_cost(found: Answer) -> RunCost:
    """Returns an answer as one flat value, with the remedies among its notes."""
    cost, memory = found.estimate, found.estimate.memory
    return RunCost(
        peak_allocated_bytes=memory.peak_allocated_bytes,
        peak_reserved_bytes=memory.peak_reserved_bytes,
        context_bytes=memory.context_bytes,
        total_bytes=memory.total_bytes,
        fits=found.fits,
        headroom_bytes=found.headroom_bytes,
        trainable_parameters=cost.trainable_parameters,
        total_parameters=cost.total_parameters,
        step_seconds=cost.step_seconds,
        step_seconds_low=cost.step_seconds_low,
        step_seconds_high=cost.step_seconds_high,
        tokens_per_second=found.tokens_per_second,
        breakdown=memory.breakdown,
        peak_phase=memory.peak_phase.replace("_", " "),
        notes=(*found.notes, *(_in_words(remedy) for remedy in found.remedies)),
        maximum=found.maximum,
    )


def _in_words(remedy: Remedy) -> str:
    fits = "it fits" if remedy.fits else "it does not fit"
    gain, total = format_bytes(remedy.gain_bytes), format_bytes(remedy.total_bytes)
    return f"With {remedy.words} {fits}: {gain} less, {total} in all."


def answer(question: Question, maximize: str | None = None) -> Answer:
    """Returns what the run of a question costs, and what is the most of one number that fits where that is asked.

    Args:
        question: the run.
        maximize: ``batch-size``, ``sequence-length`` or ``rank``.

    Raises:
        InvalidValueError: the question or the number to maximize cannot be.
        ModelError: the model cannot be read.
    """
    asked = plan(question)
    if maximize is None:
        return _answered(asked)
    target = maximize_target(maximize, asked)
    found = largest_that_fits(asked, target, cost=lambda changed: cost(changed).memory.total_bytes)
    if found is None:
        least = possible_values(asked, target)(target.least)
        answered = _answered(target.at(asked, least))
        note = f"Not even a {target.words} of {least} fits."
        return replace(answered, maximize=target, notes=(*answered.notes, note))
    return replace(_answered(target.at(asked, found)), maximize=target, maximum=found)


def cost(asked: Plan) -> Estimate:
    """Returns the estimate of a plan on one device, its strategy over several taken into account."""
    found = estimate(asked.setup, tokens_per_row=asked.tokens, hardware=asked.hardware, practice=asked.practice)
    return on_devices(found, asked.setup, asked.strategy, asked.devices)


def _answered(asked: Plan) -> Answer:
    found = cost(asked)
    notes = (*asked.notes, *asked.hardware.notes, *found.notes, *fragmentation_notes(asked, found.memory.total_bytes))
    first = Answer(plan=asked, estimate=found, notes=notes)
    if first.fits:
        return replace(first, notes=(*first.notes, *_narrow(first)))
    return replace(first, remedies=remedies(asked, found, _total))


def _total(asked: Plan) -> int:
    return cost(asked).memory.total_bytes


def _narrow(found: Answer) -> tuple[str, ...]:
    if found.plan.device.kind == "cpu" or found.headroom_bytes >= NARROW:
        return ()
    return (
        "Less than 1 GiB is left: a display or another program on the card may take it; --reserve 1GiB leaves room.",
    )
