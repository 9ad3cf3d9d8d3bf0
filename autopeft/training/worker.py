"""A worker: keeps one base model loaded, attaches candidates to it, and proves that it stays as it was.

A base that is divided over several processes is not put together again: it is thrown away after each run, and the next
one loads it anew.
"""

import gc
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopeft.data import EncodedDataset
from autopeft.methods import get_method
from autopeft.tasks import get_task
from autopeft.training.base import Base, copy_weights, fingerprint, load_base, restore_weights
from autopeft.training.checkpoint import load_trained
from autopeft.training.class_weights import loss_weight, weighted_loss
from autopeft.training.devices import reset_peak, training_device
from autopeft.training.gradients import layer_gradient_norms, strongest
from autopeft.training.parallel import ALONE, Parallel
from autopeft.training.run import RunState, Step, TrainingRun, collate, plan_steps
from autopeft.values.candidates import Candidate, Setup, rows_at_once
from autopeft.values.plans import Plan
from autopeft.values.profiles import HardwareProfile, ModelProfile

PREPARING_BATCHES = 8
"""Micro-batches that a method which starts from data sees; the first ones of its own run, so nothing is held back."""


class Worker:
    """Holds one base model at a time, by quantization and dtype, and lends it to one run after the other."""

    def __init__(
        self,
        profile: ModelProfile,
        hardware: HardwareProfile,
        *,
        head_seed: int,
        label_names: tuple[str, ...] = (),
        class_weights: tuple[float, ...] | None = None,
        parallel: Parallel = ALONE,
    ) -> None:
        """Prepares a worker; the base is loaded when the first run asks for it."""
        self.profile, self.device, self.parallel = profile, training_device(hardware), parallel
        self._class_weights, self._label_names = class_weights, label_names
        self.task = get_task(profile.task)
        self._head_seed = head_seed
        self._norms: dict[int, float] | None = None
        self._base: Base | None = None
        self._base_key: tuple[str, str] | None = None

    def holds(self, candidate: Candidate) -> bool:
        """Returns whether the base that a candidate trains on is loaded."""
        return self._base is not None and self._base_key == (candidate.quantization, candidate.dtype)

    def base(self, candidate: Candidate) -> Base:
        """Returns the base that a candidate trains on, loading it when another one is held."""
        if self._base is None or not self.holds(candidate):
            self._base = None
            gc.collect()
            self._base = load_base(
                self.profile,
                quantization=candidate.quantization,
                dtype=candidate.dtype,
                head_seed=self._head_seed,
                # What is divided before it trains need not fit one device.
                device="cpu" if self.parallel.sharded else self.device,
                label_names=self._label_names,
            )
            self._base_key = (candidate.quantization, candidate.dtype)
        return self._base

    def release(self) -> None:
        """Gives the base model's memory back; the next run loads it anew."""
        self._base, self._base_key = None, None
        gc.collect()
        reset_peak(self.device)

    @contextmanager
    def attached(
        self,
        candidate: Candidate,
        plan: Plan,
        dataset: EncodedDataset,
        deadline: float = math.inf,
        state: RunState | None = None,
        saved: Path | None = None,
    ) -> Iterator[TrainingRun]:
        """Lends the base with the candidate's method attached, ready to train, and takes it back unchanged.

        A base that is divided over processes is thrown away instead.

        Args:
            candidate: what to attach.
            plan: the run's budget.
            dataset: the training rows.
            deadline: on ``time.monotonic``'s clock; the run stops there.
            state: where an earlier run with the same arguments stopped.
            saved: folder with what such a run had trained, as `save_trained` wrote it.

        Raises:
            RuntimeError: the base is not what it was, bit for bit, after the method was detached: a defect of
                the method, which would falsify every later trial.
        """
        import torch

        base, method = self.base(candidate), get_method(candidate.method)
        candidate = self._resolved(base, candidate, dataset)
        steps = plan_steps(dataset, candidate, plan)
        setup = Setup(model=self.profile, task=self.profile.task, candidate=candidate, total_steps=len(steps))
        sharded = self.parallel.sharded
        before = copy_weights(base.model) if method.capabilities.changes_base and not sharded else None
        torch.manual_seed(plan.seed)
        whole = None if sharded else saved
        try:
            model = method.apply(base.model, setup) if whole is None else method.load(base.model, setup, whole)
        except BaseException:
            # Half attached it cannot be taken back, so the next run loads the base anew.
            self._base = self._base_key = None
            raise
        try:
            with weighted_loss(model, self._class_weights), _checkpointing(base.model, candidate):
                if method.prepare is not None and whole is None:
                    method.prepare(model, setup, self._first_batches(dataset, steps))
                run = TrainingRun(
                    model, dataset, candidate, plan, steps, self.device, deadline,
                    parallel=self.parallel, weight=self._loss_weight,
                )  # fmt: skip
                if self.parallel.rank > 0:
                    # Dropout draws anew for every row, so processes with rows of their own draw different numbers.
                    torch.manual_seed(plan.seed + self.parallel.rank)
                if state is not None:
                    run.load_state(state)
                if saved is not None and sharded:
                    run.load_weights(load_trained(saved))
                yield run
        finally:
            if sharded:
                self._base = self._base_key = None
            else:
                method.detach(model)
                base.model.zero_grad(set_to_none=True)
                if before is not None:
                    restore_weights(base.model, before)
                # What was broken off has to leave no more behind than what came to its end.
                self._prove_unchanged(base, candidate)

    @contextmanager
    def bare(self, candidate: Candidate) -> Iterator[Any]:
        """Lends the base as it is, for scoring alone; one that is divided over processes is thrown away after it."""
        model = self.base(candidate).model
        if not self.parallel.sharded:
            yield model
            return
        try:
            yield self.parallel.divided(model, self.device)
        finally:
            self._base = self._base_key = None

    def _loss_weight(self, labels: Any) -> float:
        return loss_weight(self.task.counted(labels), labels, self._class_weights)

    def _first_batches(self, dataset: EncodedDataset, steps: tuple[Step, ...]) -> list[dict[str, Any]]:
        batches = itertools.chain.from_iterable(steps)
        return [collate(dataset, batch, self.device) for batch in itertools.islice(batches, PREPARING_BATCHES)]

    def _resolved(self, base: Base, candidate: Candidate, dataset: EncodedDataset) -> Candidate:
        """Returns the candidate with the layers that ``gradient:K`` comes to on this base and these rows."""
        kind, _, count = candidate.layers.partition(":")
        if kind != "gradient" or candidate.layer_indices is not None:
            return candidate
        if self._norms is None:
            with _checkpointing(base.model, candidate):
                self._norms = layer_gradient_norms(
                    base.model, self.profile, dataset, device=self.device, seed=self._head_seed,
                    at_once=rows_at_once(candidate, self.device),
                )  # fmt: skip
        return replace(candidate, layer_indices=strongest(self._norms, int(count)))

    def _prove_unchanged(self, base: Base, candidate: Candidate) -> None:
        if fingerprint(base.model) != base.fingerprint:
            raise RuntimeError(f"The base model was not restored after a run of {candidate.method!r}.")


@contextmanager
def _checkpointing(model: object, candidate: Candidate) -> Iterator[None]:
    if not candidate.gradient_checkpointing:
        yield
        return
    # Reentrant checkpointing would need inputs that require gradients, which frozen embeddings do not give.
    model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[attr-defined]
    # transformers has the embeddings' output ask for gradients all the same, and every layer is then recomputed.
    model.disable_input_require_grads()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        model.gradient_checkpointing_disable()  # type: ignore[attr-defined]
