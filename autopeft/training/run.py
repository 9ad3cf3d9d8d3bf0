"""One training run: a budget in tokens, a schedule, advanced in parts, resumable from its state."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autopeft.data import EncodedDataset, batches
from autopeft.errors import DivergedError, TimedOutError
from autopeft.methods import get_method
from autopeft.optimizers import get_optimizer
from autopeft.schedules import get_schedule
from autopeft.training.devices import autocast
from autopeft.training.pace import Pace, longest_part
from autopeft.training.parallel import ALONE, Parallel, parted, whole
from autopeft.values.candidates import Candidate
from autopeft.values.plans import Plan

Step = tuple[tuple[int, ...], ...]
"""The micro-batches of one optimizer step, each the indices of its rows."""


def plan_steps(dataset: EncodedDataset, candidate: Candidate, plan: Plan) -> tuple[Step, ...]:
    """Returns the micro-batches of every optimizer step of a run: as many epochs as the token budget takes."""
    steps: list[Step] = []
    pending: list[tuple[int, ...]] = []
    tokens, epoch = 0, 0
    while True:
        for batch in batches(dataset, candidate.batch_size, plan.seed + epoch):
            pending.append(tuple(batch))
            tokens += sum(dataset.lengths[index] for index in batch)
            if len(pending) == candidate.accumulation or tokens >= plan.tokens:
                steps.append(tuple(pending))
                pending = []
            if tokens >= plan.tokens:
                return tuple(steps)
        epoch += 1


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Everything a run needs to go on later on a freshly attached model.

    Attributes:
        weights: what trains, whole, wherever it was divided.
        random: state of the random numbers of each process that trains, by rank.
    """

    done: int
    tokens: int
    seconds: float
    weights: tuple[Any, ...]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    scaler: dict[str, Any]
    random: Any


class TrainingRun:
    """A model being trained; `advance` brings it to a share of its budget.

    Attributes:
        done: optimizer steps taken.
        tokens: training tokens seen, padding not counted.
        seconds: time spent in `advance`.
    """

    def __init__(
        self,
        model: Any,
        dataset: EncodedDataset,
        candidate: Candidate,
        plan: Plan,
        steps: Sequence[Step],
        device: str,
        deadline: float = math.inf,
        *,
        parallel: Parallel = ALONE,
        weight: Callable[[Any], float] = len,
    ) -> None:
        """Prepares the optimizer and the schedule.

        Args:
            model: with the method attached; its parameters that require gradients are trained.
            dataset: the training rows.
            candidate: learning rate and its schedule, optimizer, dtype and method of the run.
            plan: its budget and warm-up.
            steps: from `plan_steps` for the same arguments.
            device: torch's name for it.
            deadline: on ``time.monotonic``'s clock, no step is begun after it.
            parallel: the processes that train together, of which all make a run with the same arguments.
            weight: batch's labels → what its mean loss weighs beside that of other rows.
        """
        import torch

        self.dataset, self.candidate, self.steps = dataset, candidate, steps
        self.parallel, self._weight = parallel, weight
        self.device, self._limit = device, plan.max_gradient_norm
        self._deadline = self._until = deadline
        self.done, self.tokens, self.seconds = 0, 0, 0.0
        self._pace = Pace(plan.seconds, longest_part(plan.readings) * plan.tokens)
        self._part = longest_part(plan.readings) * len(steps)
        self.model = parallel.divided(model, device)
        self._trainable = [p for p in self.model.parameters() if p.requires_grad]
        build = get_optimizer(candidate.optimizer).build
        self._optimizer = build(self.model, candidate.learning_rate, plan.weight_decay)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, get_schedule(candidate.schedule).over(len(steps), plan.warmup_share)
        )
        # float16 gradients underflow without scaling; the other dtypes need none.
        self._scaler = torch.amp.GradScaler(enabled=candidate.dtype == "float16" and device.startswith("cuda"))
        method = get_method(candidate.method)
        self._after_step, self._interruptible = method.after_step, method.interruptible

    @property
    def trainable_parameters(self) -> int:
        """Parameters that this run trains, the task head included; what the optimizer has frozen is not."""
        return sum(p.numel() for p in self._trainable if p.requires_grad)

    def advance(self, share: float) -> float:
        """Trains up to a share of the budget and returns the mean loss on the way.

        Raises:
            DivergedError: a loss is NaN or infinite.
            TimedOutError: the deadline has passed, or this takes longer than the plan allows, as its pace may show.
        """
        until = max(1, round(share * len(self.steps)))
        started = time.monotonic()
        # What lost its state trains several parts in one go, and a further fold the whole budget.
        parts = max(1.0, (until - self.done) / self._part)
        self._until = min(self._deadline, started + parts * self._pace.seconds)
        self.model.train()
        try:
            losses = [self._step(step) for step in self.steps[self.done : until]]
        finally:
            self.seconds += time.monotonic() - started
        return sum(losses) / len(losses) if losses else math.nan

    def _step(self, step: Step) -> float:
        import torch

        started = time.monotonic()
        late, slow = self.parallel.total(started > self._until, self._pace.too_slow)
        if late:
            raise TimedOutError(f"Its time was over at step {self.done + 1} of {len(self.steps)}.")
        if slow:
            raise TimedOutError(f"Its first {self._pace.steps} steps show it.")
        (loss,) = self.parallel.total(sum(self._backward(batch, len(step)) for batch in step))
        self.parallel.sum_gradients(self._trainable)
        if not math.isfinite(loss):
            raise DivergedError(f"The training loss became {loss} at step {self.done + 1}; lower the learning rate.")
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._trainable, self._limit)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        self.done += 1
        if self._after_step is not None:
            self._after_step(self.model, self.done)
        self._optimizer.zero_grad()
        tokens = sum(self.dataset.lengths[index] for batch in step for index in batch)
        self.tokens += tokens
        self._pace.add(tokens, time.monotonic() - started)
        return loss

    def _backward(self, batch: Sequence[int], parts: int) -> float:
        rows, share = self._share(batch)
        with autocast(self.device, self.candidate.dtype):
            loss = self.model(**collate(self.dataset, rows, self.device)).loss * share / parts
        self._scaler.scale(loss).backward()
        return float(loss.detach())

    def _share(self, batch: Sequence[int]) -> tuple[Sequence[int], float]:
        """Returns this process's rows of a micro-batch, and the share that their mean loss has in the batch's.

        Sharded layers compute only where all processes do, so one without rows takes the first, which counts nothing.
        """
        if self.parallel.size == 1:
            return batch, 1.0
        mine = self.parallel.share(batch)
        if not mine:
            return batch[:1], 0.0
        own, every = (self._weight(collate(self.dataset, rows, "cpu")["labels"]) for rows in (mine, batch))
        # Nothing to learn from a batch: its loss is no number here either.
        return mine, own / every if every else 1.0

    def state(self) -> RunState | None:
        """Returns a copy of the run's state; None where the method keeps state of its own between steps."""
        import torch

        if not self._interruptible:
            return None
        return RunState(
            done=self.done,
            tokens=self.tokens,
            seconds=self.seconds,
            weights=self.weights(),
            optimizer=_copied(self._optimizer.state_dict()),
            schedule=self._schedule.state_dict(),
            scaler=self._scaler.state_dict(),
            random=self.parallel.gathered((torch.get_rng_state(), *self._device_random())),
        )

    def load_state(self, state: RunState) -> None:
        """Goes on from a state of a run with the same arguments."""
        import torch

        self.done, self.tokens, self.seconds = state.done, state.tokens, state.seconds
        self.load_weights(state.weights)
        self._optimizer.load_state_dict(self._parted(state.optimizer))
        _bring_along(self._optimizer.state, self.device)
        self._schedule.load_state_dict(state.schedule)
        self._scaler.load_state_dict(state.scaler)
        general, *own = state.random[self.parallel.rank]
        torch.set_rng_state(general)
        if own:
            torch.cuda.set_rng_state(own[0], self.device)

    def weights(self) -> tuple[Any, ...]:
        """Returns copies of all that trains, whole; where it is divided, all processes must call this."""
        return tuple(whole(p) for p in self._trainable)

    def load_weights(self, weights: Sequence[Any]) -> None:
        """Writes what `weights` returned for a run with the same arguments back in place."""
        import torch

        with torch.no_grad():
            for parameter, value in zip(self._trainable, weights, strict=True):
                parameter.copy_(parted(value, parameter))

    def _parted(self, state: dict[str, Any]) -> dict[str, Any]:
        """Returns an optimizer's whole state divided as its parameters are."""
        if not self.parallel.sharded:
            return state
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        divided = {
            place: {key: parted(value, parameters[place]) for key, value in entry.items()}
            for place, entry in state["state"].items()
        }
        return {**state, "state": divided}

    def _device_random(self) -> tuple[Any, ...]:
        """Returns the state of the device's own random numbers, which dropout on a GPU draws from."""
        import torch

        return (torch.cuda.get_rng_state(self.device),) if self.device.startswith("cuda") else ()


def _copied(value: Any) -> Any:
    """Returns a copy of an optimizer's state, its tensors whole."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return whole(value)


def _bring_along(states: dict[Any, Any], device: str) -> None:
    """Moves the state that an optimizer keeps under other keys than parameters: torch leaves it where it was read."""
    import torch

    for key, entry in list(states.items()):
        if not isinstance(key, torch.Tensor):
            states[key] = {name: value.to(device) if hasattr(value, "to") else value for name, value in entry.items()}


def collate(dataset: EncodedDataset, indices: Sequence[int], device: str) -> dict[str, Any]:
    """Returns the rows as one batch of tensors on the device, padded to the longest of them."""
    import torch

    rows = dataset.__getitems__(list(indices))
    return {key: torch.stack([row[key] for row in rows]).to(device) for key in rows[0]}
