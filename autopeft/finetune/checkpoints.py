"""Checkpoints of a full training: safetensors and JSON, each folder there whole or not at all."""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autopeft.errors import FileFormatError, StudyError
from autopeft.files import read_json
from autopeft.training.checkpoint import load_state, save_state
from autopeft.training.run import RunState

STATE = "state.safetensors"
PROGRESS = "trainer_state.json"
_PREFIX = "checkpoint-"

PATIENCE = 4
"""Readings without a lower validation loss, an epoch of them, after which training stops."""


def checkpoint_at(folder: Path, step: int) -> Path:
    """Returns the folder of the checkpoint taken after so many optimizer steps."""
    return folder / f"{_PREFIX}{step}"


def newest(folder: Path) -> Path | None:
    """Returns the checkpoint of the most steps, None where there is none."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()]
    return max(found, key=lambda path: int(path.name.removeprefix(_PREFIX)), default=None)


def read(path: Path) -> RunState:
    """Returns the state in a checkpoint.

    Raises:
        StudyError: a file is missing or cut short; nothing is changed.
    """
    from safetensors import SafetensorError

    try:
        read_json(path / PROGRESS)
        return load_state(path / STATE)
    except (OSError, SafetensorError, FileFormatError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"The checkpoint {path} is incomplete or damaged: {error}\n"
            "Remove that folder to go on from the one before, or start anew in another --output."
        ) from error


def stalled(history: Sequence[Mapping[str, float]]) -> bool:
    """Whether the validation loss has not fallen over the last `PATIENCE` readings of a trainer's log."""
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= PATIENCE


def has_ended(path: Path) -> bool:
    """Whether training was over at a checkpoint: all steps done, or the validation loss stalled."""
    progress = read_json(path / PROGRESS)
    return progress["global_step"] >= progress["max_steps"] or stalled(progress["log_history"])


def trainer_class() -> Any:
    """Returns transformers' Trainer with checkpoints of what trains alone, in safetensors, with nothing pickled."""
    import torch
    from transformers import Trainer, TrainerState

    class CheckpointingTrainer(Trainer):  # type: ignore[misc]
        """Writes and reads the checkpoints of this module; everything else is transformers' own."""

        seconds_before = 0.0
        began = 0.0

        def go_on(self, latest: Path | None) -> float:
            """Trains from a checkpoint, or from the start, and returns the seconds of training over all parts."""
            if latest is not None and has_ended(latest):
                # It was stopped after training, before the result was written.
                self.state = TrainerState.load_from_json(str(latest / PROGRESS))
                self.load_weights(latest)
                return read(latest).seconds
            self.began = time.monotonic()
            self.train(resume_from_checkpoint=None if latest is None else str(latest))
            return self._seconds()

        def _seconds(self) -> float:
            return self.seconds_before + time.monotonic() - self.began

        def trained(self) -> list[Any]:
            return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

        def _save_checkpoint(self, _model: Any, _trial: Any) -> None:
            folder = Path(self.args.output_dir)
            final = checkpoint_at(folder, self.state.global_step)
            partial = folder / f".{final.name}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            try:
                save_state(self._run_state(), partial / STATE)
                self.state.save_to_json(str(partial / PROGRESS))
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)  # on a full disk it would keep others from writing
                raise
            shutil.rmtree(final, ignore_errors=True)
            partial.replace(final)
            kept = {final, checkpoint_at(folder, self.state.best_global_step or self.state.global_step)}
            for path in folder.glob(f"{_PREFIX}*"):
                if path not in kept:
                    shutil.rmtree(path)

        def _run_state(self) -> RunState:
            on_cuda = torch.cuda.is_available()
            scaler = self.accelerator.scaler
            return RunState(
                done=self.state.global_step,
                tokens=0,
                seconds=self._seconds(),
                weights=tuple(parameter.detach() for parameter in self.trained()),
                optimizer=self.optimizer.state_dict(),
                schedule=self.lr_scheduler.state_dict(),
                scaler=scaler.state_dict() if scaler is not None else {},
                random=(torch.get_rng_state(), *([torch.cuda.get_rng_state()] if on_cuda else [])),
            )

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            del model
            self.load_weights(Path(resume_from_checkpoint))

        def load_weights(self, path: Path) -> None:
            """Puts a checkpoint's weights into the model.

            Raises:
                StudyError: it is damaged, or of another run.
            """
            state, trained = read(path), self.trained()
            if [tuple(w.shape) for w in state.weights] != [tuple(p.shape) for p in trained]:
                raise StudyError(f"The checkpoint {path} must hold the weights of this run; it holds other ones.")
            with torch.no_grad():
                for parameter, value in zip(trained, state.weights, strict=True):
                    parameter.copy_(value)

        def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
            if checkpoint is None:
                return
            state = read(Path(checkpoint))
            self.optimizer.load_state_dict(state.optimizer)
            self.lr_scheduler.load_state_dict(state.schedule)
            if state.scaler and self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state.scaler)
            self.seconds_before = state.seconds

        def _load_rng_state(self, checkpoint: str | None) -> None:
            if checkpoint is None:
                return
            general, *own = read(Path(checkpoint)).random
            torch.set_rng_state(general)
            if own and torch.cuda.is_available():
                torch.cuda.set_rng_state(own[0])

    return CheckpointingTrainer
