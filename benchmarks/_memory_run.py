"""One case of the memory benchmark on a GPU: the training code itself, measured by torch's allocator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.estimation.practice import OWN, Practice
from autopeft.tasks import get_task
from autopeft.testing.memory import prepared
from autopeft.testing.models import tiny_tokenizer
from autopeft.values.candidates import Setup


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run took.

    Attributes:
        allocated_bytes: at the peak of the steps.
        reserved_bytes: what torch's caching allocator held.
    """

    allocated_bytes: int
    reserved_bytes: int


def save_model(setup: Setup, config: Any, folder: Path) -> None:
    """Writes a task model of random weights, and a tokenizer, where `load_base` finds them."""
    import torch
    import transformers

    torch.manual_seed(0)
    if setup.model.labels:
        config.num_labels = setup.model.labels
    auto = getattr(transformers, get_task(setup.task).auto_class[setup.model.kind])
    dtype = torch.float32 if setup.model.parameters < 100_000_000 else torch.bfloat16
    auto.from_config(config, dtype=dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)


def measured(setup: Setup, tokens: int, *, padded: bool, practice: Practice = OWN) -> Measured:
    """Returns what two steps take on the first CUDA device, after two that load its kernels.

    Raises:
        torch.OutOfMemoryError: there is not so much.
    """
    import torch

    for _ in range(2):
        _empty()
        with prepared(setup, tokens, "cuda:0", padded=padded, practice=practice) as (model, run):
            run.advance(1.0)
            found = Measured(
                allocated_bytes=torch.cuda.max_memory_allocated(), reserved_bytes=torch.cuda.max_memory_reserved()
            )
            del model, run
    _empty()
    return found


def _empty() -> None:
    """Gives back what earlier runs have left, one that ran out of memory too."""
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
