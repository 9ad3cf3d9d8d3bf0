"""Two steps of training and an evaluation, as `autopeft.training` runs them, under the recorder.

Imported by functions only: it needs torch at import.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.autograd.graph import _engine_run_backward
from torch.fx.experimental import _config as fx_config

from autopeft.estimation.activations import SEQUENCES_PER_ROW
from autopeft.estimation.collector import uncollected
from autopeft.estimation.practice import OWN, Practice
from autopeft.estimation.tracing.again import passed, repeat
from autopeft.estimation.tracing.attention import Kernels
from autopeft.estimation.tracing.build import Network
from autopeft.estimation.tracing.chunked import chunked_loss
from autopeft.estimation.tracing.dispatch import TargetDevice, autocasting, forgetting
from autopeft.estimation.tracing.loading import load
from autopeft.estimation.tracing.padding_free import padding_free
from autopeft.estimation.tracing.recorder import Recorder
from autopeft.estimation.tracing.recording import Recording
from autopeft.estimation.tracing.updates import clip, update
from autopeft.estimation.tracing.work import listening
from autopeft.methods import get_method
from autopeft.optimizers import get_optimizer
from autopeft.values.candidates import Setup
from autopeft.values.names import LANGUAGE_TASKS

_ONCE = False
"""Neither is the graph kept for another pass, nor one of the gradients made."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What is run.

    Attributes:
        rows: of a micro-batch; a large prime where the recording is to be scaled afterwards.
        tokens: of every row.
        padded: whether some row is shorter than the longest, so that attention needs a mask.
        practice: how the code that trains goes about it.
    """

    rows: int
    tokens: int
    padded: bool
    practice: Practice = OWN

    @property
    def traced_rows(self) -> int:
        """What a recording is to be scaled by: 1 where it stands for this batch alone."""
        return self.rows if self.practice.proportional else 1

    def autocast(self, setup: Setup) -> AbstractContextManager[None]:
        """Returns what the batch runs under."""
        return autocasting(getattr(torch, setup.candidate.dtype) if self.practice.autocast else torch.float32)

    def losing(self, base: Any) -> AbstractContextManager[None]:
        """Returns what the model's loss is computed under."""
        return chunked_loss(base) if self.practice.loss == "chunked" else nullcontext()


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A recording, and what is to be said of it.

    Attributes:
        asked: whether the model asked for numbers that meta tensors do not have, so that one of several ways was
            followed.
        entangled: whether layers share weights or the optimizer's step is its own, so that layers alike by
            themselves may yet differ in what they do.
    """

    recording: Recording
    asked: bool
    entangled: bool


def record(network: Network, batch: Batch, kernels: Kernels) -> Recorded:
    """Returns the recording of loading, two optimizer steps and one batch of evaluation.

    With accumulation the second step has two micro-batches, so that gradients wait for one of them.
    """
    setup = network.setup
    width = setup.model.vocabulary_size if setup.task in LANGUAGE_TASKS else 0
    recorder = Recorder(rows=batch.traced_rows, language_width=width, padded=batch.padded)
    target = TargetDevice(kernels)
    everywhere = fx_config.patch(meta_nonzero_assume_all_nonzero=True)  # type: ignore[attr-defined]
    with (
        padding_free(packing=batch.practice.packing),
        everywhere,
        listening(recorder.work),
        uncollected(),
        forgetting(target),
        _followed(network, recorder),
        target,
        recorder,
    ):
        load(network, recorder)
        _train(network, batch, recorder, kernels)
        _evaluate(network, batch, recorder)
    return Recorded(recording=recorder.recording(), asked=recorder.asked, entangled=recorder.shared)


@contextmanager
def _followed(network: Network, recorder: Recorder) -> Iterator[None]:
    """Tells the recorder which layer runs."""
    hooks = []
    for index, layer in enumerate(network.layers):
        hooks.append(layer.register_forward_pre_hook(partial(_enter, recorder, index)))
        hooks.append(layer.register_forward_hook(partial(_leave, recorder)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _enter(recorder: Recorder, index: int, _module: Any, _inputs: Any) -> None:
    recorder.enter_layer(index)


def _leave(recorder: Recorder, _module: Any, _inputs: Any, _output: Any) -> None:
    recorder.enter_layer(None)


def _train(network: Network, batch: Batch, recorder: Recorder, kernels: Kernels) -> None:
    setup, model = network.setup, network.model
    candidate = setup.candidate
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = get_optimizer(candidate.optimizer).build(model, candidate.learning_rate, 0.01)
    model.train()
    if candidate.gradient_checkpointing:
        network.base.gradient_checkpointing_enable({"use_reentrant": batch.practice.checkpointing == "reentrant"})
        if batch.practice.checkpointing == "own":
            network.base.disable_input_require_grads()  # as a run does: frozen embeddings need no gradients
    scaled = candidate.dtype == "float16" and kernels.device == "cuda"
    backward = partial(_backward, network, batch, recorder, trained, scaled=scaled)
    step = partial(_step, network, optimizer, recorder, trained)
    start = len(recorder.events)
    recorder.counting = candidate.accumulation == 1
    backward()
    first = passed(recorder, start, trained)
    recorder.counting = False
    step()
    recorder.stepped = True
    repeated = repeat(recorder, first)
    if candidate.accumulation > 1 and not repeated:
        backward()
    if candidate.accumulation > 1 or not repeated:
        # The steady step's work is counted, of one micro-batch: the last.
        recorder.forget_work()
        recorder.counting = True
        backward()
    recorder.counting = True
    step()
    recorder.counting = False
    if candidate.gradient_checkpointing:
        network.base.gradient_checkpointing_disable()


def _step(network: Network, optimizer: Any, recorder: Recorder, trained: list[Any]) -> None:
    recorder.phase("optimizer_step")
    clip(trained, recorder)
    update(optimizer, recorder)
    method = get_method(network.setup.candidate.method)
    if method.after_step is not None:
        with recorder.storing("optimizer_state"):
            method.after_step(network.model, 1)
    for parameter in trained:
        parameter.grad = None


def _backward(network: Network, batch: Batch, recorder: Recorder, trained: list[Any], *, scaled: bool) -> None:
    setup, model = network.setup, network.model
    recorder.phase("forward")
    with batch.autocast(setup), batch.losing(network.base):
        loss = model(**_given(setup, batch, recorder)).loss / setup.candidate.accumulation
    if scaled:
        loss = loss * torch.empty((), device=loss.device)
    recorder.end_of_forward()
    recorder.phase("backward")
    # What `loss.backward()` comes to. The function itself would be handled by the target's mode, which is off inside
    # its own handler, and gradient checkpointing recomputes in there.
    _engine_run_backward(
        (loss,), (torch.ones_like(loss),), _ONCE, _ONCE, (), allow_unreachable=True, accumulate_grad=True
    )
    recorder.leave()
    for parameter in trained:
        if parameter.grad is not None:
            recorder.relabel(parameter.grad, "gradients")


def _evaluate(network: Network, batch: Batch, recorder: Recorder) -> None:
    setup, model = network.setup, network.model
    recorder.phase("evaluation")
    model.eval()
    given = _given(setup, batch, recorder)
    if not batch.practice.proportional:
        _score_by_loss(network, batch, given)
        return
    labels = given["labels"]
    if setup.task != "seq2seq":
        del given["labels"]  # an encoder-decoder makes its decoder's inputs of them
    with torch.no_grad(), batch.autocast(setup):
        logits = model(**given).logits
        if setup.task in LANGUAGE_TASKS:
            # Row by row, as the tasks score them.
            row = logits[0, -labels.shape[1] :].float()
            torch.nn.functional.cross_entropy(row, labels[0], reduction="sum")
    model.train()


def _score_by_loss(network: Network, batch: Batch, given: dict[str, Any]) -> None:
    """Scores a batch as such training code does: by the loss alone, computed as in training, and without a cache."""
    with torch.no_grad(), batch.autocast(network.setup), batch.losing(network.base):
        network.model(**{**given, "use_cache": False}).loss.detach()
    network.model.train()


def _given(setup: Setup, batch: Batch, recorder: Recorder) -> dict[str, Any]:
    found = inputs(setup, batch)
    recorder.mark_mask(found["position_ids" if batch.practice.packing else "attention_mask"])
    return found


def inputs(setup: Setup, batch: Batch, device: str = "meta") -> dict[str, Any]:
    """Returns one micro-batch as training collates it: token ids, mask and labels, all int64 but a regression's.

    Packed, it is one row of all tokens, with positions that begin anew with each text, and no mask.
    """
    if batch.practice.packing:
        row, places = (1, batch.rows * batch.tokens), torch.arange(batch.tokens, device=device)
        names = ("input_ids", "labels")
        given = {name: torch.ones(row, dtype=torch.int64, device=device) for name in names}
        # With a cache transformers would take it for one text.
        return {**given, "position_ids": places.repeat(batch.rows).reshape(row), "use_cache": False}
    shape = (
        (batch.rows, SEQUENCES_PER_ROW[setup.task], batch.tokens)
        if setup.task == "multiple-choice"
        else (batch.rows, batch.tokens)
    )
    long = partial(torch.ones, dtype=torch.int64, device=device)
    by_token = setup.task in LANGUAGE_TASKS or setup.task == "token-classification"
    labels = long(shape if by_token else (batch.rows,))
    if setup.task == "regression":
        labels = torch.ones(batch.rows, device=device)
    return {"input_ids": long(shape), "attention_mask": long(shape), "labels": labels}
