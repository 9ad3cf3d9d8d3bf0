"""Full training from a tuned config: scored before and after, resumable, written whole or not at all."""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from autopeft import __version__
from autopeft.data import EncodedData, batches, encode, load_like
from autopeft.errors import DivergedError, invalid
from autopeft.files import write_text
from autopeft.finetune.calibrate import calibrate
from autopeft.finetune.card import model_card
from autopeft.finetune.checkpoints import checkpoint_at, newest, read
from autopeft.finetune.folder import SCHEMA_VERSION, Identity, TrainedFolder, disk_guard, sha256
from autopeft.finetune.logits import WITH_CLASSES, logits, targets
from autopeft.finetune.merge import check_mergeable, write_merged
from autopeft.finetune.outcomes import SCHEMA_VERSION as OUTCOME_VERSION
from autopeft.finetune.outcomes import Calibration, Evaluation, Trained
from autopeft.finetune.public import whole_place
from autopeft.finetune.side_effects import Before, OtherData, expected, measure_base, other_data
from autopeft.finetune.trainer import build_trainer
from autopeft.methods import Method, get_method
from autopeft.profiling.code import NOTE
from autopeft.tasks import Predictions, get_task
from autopeft.training.devices import memory_guard, peak_bytes, reset_peak
from autopeft.training.latency import adapter_bytes
from autopeft.training.run import collate
from autopeft.training.scoring import Objective, checked, predict, score
from autopeft.training.worker import PREPARING_BATCHES
from autopeft.tuned import TunedConfig
from autopeft.tuning.objective import objective
from autopeft.values.candidates import Setup, rows_at_once
from autopeft.values.profiles import ModelProfile

SPLITS = ("validation", "test")


class TrainObserver(Protocol):
    """Is told how a training goes."""

    def phase(self, text: str) -> None:
        """A new part of the work begins."""

    def step(self, done: int, total: int, train_loss: float | None, validation_loss: float | None) -> None:
        """Training has come so far."""


class Silent:
    """Tells nobody."""

    def phase(self, text: str) -> None:
        """Drops it."""

    def step(self, done: int, total: int, train_loss: float | None, validation_loss: float | None) -> None:
        """Drops it."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One training's parts."""

    tuned: TunedConfig
    setup: Setup
    method: Method
    data: EncodedData
    goal: Objective
    model: Any
    tokenizer: Any
    device: str
    others: tuple[OtherData, ...]

    def predictions(self, split: str) -> Predictions:
        return predict(
            self.model, self.data[split], get_task(self.tuned.model.task), self.tokenizer,
            dtype=self.tuned.candidate.dtype, device=self.device,
            batch_size=rows_at_once(self.tuned.candidate, self.device),
        )  # fmt: skip


def train(
    tuned: TunedConfig,
    source: str | Path,
    output: str | Path,
    *,
    epochs: float | None = None,
    merge: bool = False,
    resume: bool = False,
    also: Sequence[str] = (),
    observer: TrainObserver | None = None,
) -> Trained:
    """Returns what a full training came to; the adapter, its card and the metrics lie in the output folder.

    The weights of the lowest validation loss are kept, and training stops once that loss has not fallen for an
    epoch; a method that schedules its own steps runs to its end, and cannot be resumed.

    Args:
        tuned: the config to train.
        source: the data: file, folder or hub name, prepared as in the search.
        output: folder for the result; it must be empty, or hold this training unfinished with ``resume``.
        epochs: passes over the training rows; the config's own by default.
        merge: also write the base with the update folded in to ``merged/``.
        resume: go on from the last checkpoint.
        also: other data to score before and after: with the same columns and labels, or any text for a model that
            writes.
        observer: is told the progress.

    Raises:
        AutopeftError: bad input, another run in the folder, a damaged checkpoint, or too little memory.
    """
    told: TrainObserver = observer or Silent()
    method, length = get_method(tuned.candidate.method), epochs if epochs is not None else tuned.training.epochs
    if not length > 0 or not math.isfinite(length):
        raise invalid("epochs", "the training", "a positive number", length)
    if merge:
        check_mergeable(tuned, "--merge", "this training")
    folder = TrainedFolder(Path(output))
    with folder.locked(), memory_guard(), disk_guard(folder.path):
        folder.check_may_start(resume=resume)
        return _run(tuned, method, str(source), folder, length, told, also=also, merge=merge)


def _run(
    tuned: TunedConfig, method: Method, source: str, folder: TrainedFolder, epochs: float, told: TrainObserver,
    *, also: Sequence[str], merge: bool,
) -> Trained:  # fmt: skip
    told.phase("Loading data and model")
    work, identity, base = _prepare(tuned, method, source, epochs, also)
    tuned = work.tuned
    folder.begin(tuned, identity)
    latest = newest(folder.checkpoints)
    if latest is not None:
        read(latest)  # refused here, before any time is spent
    told.phase("Scoring before training")
    before = {split: _scored(work, split) for split in SPLITS}
    others = [other.score(tuned, work.model, work.tokenizer, work.device) for other in work.others]
    trainer = build_trainer(
        tuned, work.model, work.data["train"], work.data["validation"], folder=folder.checkpoints, epochs=epochs,
        device=work.device, report=told.step, resumable=method.after_step is None,
    )  # fmt: skip
    said = expected(work.setup, work.data["train"])
    told.phase("Training")
    reset_peak(work.device)
    seconds = trainer.go_on(latest)
    peak, kept = peak_bytes(work.device), _keep_best(trainer, folder)
    _check_finite(trainer)
    told.phase("Scoring after training")
    evaluations, per_row = _after(work, before)
    forgetting, lost = base.forgetting(work.model)
    trained = Trained(
        schema_version=OUTCOME_VERSION,
        autopeft_version=__version__,
        **evaluations,
        steps=trainer.state.global_step,
        kept_step=kept,
        stopped_early=trainer.state.global_step < trainer.state.max_steps,
        seconds=seconds,
        peak_bytes=peak,
        prediction_seconds_per_row=per_row,
        trainable_parameters=sum(parameter.numel() for parameter in trainer.trained()),
        calibration=_calibration(work),
        merged=merge,
        output=str(folder.path),
        step_seconds=trainer.step_seconds(),
        adapter_bytes=adapter_bytes(work.model, tuned.candidate),
        expected=said,
        inference=base.inference(work.model),
        forgetting=forgetting,
        also=tuple(
            other.outcome(was, other.score(tuned, work.model, work.tokenizer, work.device))
            for other, was in zip(work.others, others, strict=True)
        ),
        notes=(*_notes(method), *lost, *_own_code(work.setup.model)),
    )
    told.phase("Writing")
    _publish(work, folder, trained)
    return trained


def _prepare(
    tuned: TunedConfig, method: Method, source: str, epochs: float, also: Sequence[str]
) -> tuple[_Work, Identity, Before]:
    import torch

    config = sha256(tuned)  # as it was given: what is resumed need not lie where it lay
    tuned = _placed(tuned, source)
    setup = tuned.setup()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    raw = load_like(tuned.data, source)
    base = tuned.load_base(device=device)
    data = encode(raw, base.tokenizer, setup.model.kind)
    others = other_data(tuned, setup, [whole_place(other) for other in also], base.tokenizer)
    bare = measure_base(tuned, setup, base, data["test"], device)
    model = tuned.attach(base)
    if method.prepare is not None:
        rows = batches(data["train"], tuned.candidate.batch_size, tuned.training.seed)
        first = [collate(data["train"], batch, device) for batch in itertools.islice(rows, PREPARING_BATCHES)]
        method.prepare(model, setup, first)
    work = _Work(
        tuned=tuned, setup=setup, method=method, data=data, goal=objective(raw), model=model, tokenizer=base.tokenizer,
        device=device, others=others,
    )  # fmt: skip
    identity = Identity(schema_version=SCHEMA_VERSION, config=config, rows=sha256(raw.rows), epochs=epochs)
    return work, identity, bare


def _placed(tuned: TunedConfig, source: str) -> TunedConfig:
    """Returns the config as the folder keeps it: with this training's data, and places that hold from any folder."""
    model = replace(tuned.model, source=whole_place(tuned.model.source))
    return replace(tuned, model=model, data=replace(tuned.data, source=whole_place(source)))


def _scored(work: _Work, split: str) -> Any:
    return score(work.predictions(split), work.goal, work.tuned.training.seed)


def _check_finite(trainer: Any) -> None:
    # The weights are asked, not the logged loss: the trainer leaves steps without a finite one out of its mean.
    if not all(bool(parameter.isfinite().all()) for parameter in trainer.trained()):
        raise DivergedError(
            "Training diverged: its weights are no finite numbers any more, and no better ones were kept.\n"
            "Lower `candidate.learning_rate` and start anew in another --output."
        )


def _keep_best(trainer: Any, folder: TrainedFolder) -> int:
    """Puts the weights of the lowest validation loss into the model and returns their step."""
    best = int(trainer.state.best_global_step or trainer.state.global_step)
    path = checkpoint_at(folder.checkpoints, best)
    if not path.exists():
        return int(trainer.state.global_step)
    trainer.load_weights(path)
    return best


def _after(work: _Work, before: dict[str, Any]) -> tuple[dict[str, Evaluation], float]:
    found, seconds = {}, 0.0
    for split in SPLITS:
        started = time.monotonic()
        said = checked(work.predictions(split))
        seconds = time.monotonic() - started
        found[split] = Evaluation(
            before=before[split],
            after=score(said, work.goal, work.tuned.training.seed),
            metrics=work.goal.all_metrics(said),
        )
    return found, seconds / len(work.data["test"])


def _calibration(work: _Work) -> Calibration | None:
    if work.tuned.model.task not in WITH_CLASSES:
        return None
    rows = work.data["validation"]
    return calibrate(logits(work.model, rows, dtype=work.tuned.candidate.dtype, device=work.device), targets(rows))


def _notes(method: Method) -> tuple[str, ...]:
    if method.after_step is None:
        return ()
    return (f"{method.title} schedules its own steps: the weights of the last step were kept, not the best ones.",)


def _own_code(model: ModelProfile) -> tuple[str, ...]:
    if not model.own_code:
        return ()
    return (f"{NOTE} Whoever uses what was trained has to let it too, and should read that code before.",)


def _publish(work: _Work, folder: TrainedFolder, trained: Trained) -> None:
    with folder.staged() as staging:
        work.method.save(work.model, staging)
        work.tokenizer.save_pretrained(staging)
        if trained.merged:
            write_merged(work.tuned, staging, staging / "merged", work.model)
        card = model_card(work.tuned, trained, peft_format=(staging / "adapter_config.json").exists())
        write_text(staging / "README.md", card)
    folder.finish(trained)
