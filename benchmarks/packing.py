"""What several LoRA trials over one forward of the frozen base would save, against one after the other.

    python benchmarks/packing.py .cache/minilm --tokens 24
    python benchmarks/packing.py .cache/smollm2 --tokens 32 --device cuda

Every trial has an adapter of its own on all linear layers and sees as many rows as alone; rows of all trials go through
the base as one batch, each past its own adapter. Whether gradients are those of training alone is checked first. Timed
are forward, backward and AdamW of random rows, in turns; a loss on the last hidden states stands for the task's.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

PACKS = (2, 4, 8)
ROUNDS = 7
"""Steps of each kind, in turns, of which the median counts."""


def adapted(folder: Path, count: int, rank: int, device: str) -> Any:
    """Returns a model with so many adapters, none of which begins at zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    torch.manual_seed(0)
    base = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(base, config, adapter_name=name(0))
    for place in range(1, count):
        model.add_adapter(name(place), config)
    for key, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in key)
    return model.to(device).eval()  # without dropout, so that gradients can be compared


def name(place: int) -> str:
    """Returns what a trial's adapter is called."""
    return f"trial{place}"


@contextmanager
def passing(model: Any, owners: Sequence[str]) -> Iterator[None]:
    """Sends each row past the adapter of its owner while the context lasts; peft itself does so for inference alone."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    def told(_module: Any, arguments: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return arguments, {**options, "adapter_names": list(owners)}

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    hooks = [layer.register_forward_pre_hook(told, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def losses(model: Any, rows: Any, trials: Sequence[int]) -> Any:
    """Returns the loss of each trial on the same rows, from one forward pass."""
    count = len(rows)
    owners = [name(place) for place in trials for _ in range(count)]
    with passing(model, owners):
        hidden = model.base_model.model(input_ids=rows.repeat(len(trials), 1)).last_hidden_state
    return hidden.reshape(len(trials), -1).pow(2).mean(dim=1)


def gradients(model: Any, place: int) -> Any:
    """Returns the gradients of one trial's adapter as one vector."""
    import torch

    own = [p.grad.flatten() for key, p in model.named_parameters() if f".{name(place)}." in key and p.grad is not None]
    return torch.cat(own)


def check(model: Any, rows: Any, count: int) -> float:
    """Returns the largest difference of a trial's gradients to those alone, over the largest gradient."""
    losses(model, rows, range(count)).sum().backward()
    together = [gradients(model, place) for place in range(count)]
    model.zero_grad()
    worst = 0.0
    for place, packed in enumerate(together):
        losses(model, rows, [place]).sum().backward()
        alone = gradients(model, place)
        worst = max(worst, float((packed - alone).abs().max() / alone.abs().max()))
        model.zero_grad()
    return worst


def step(model: Any, rows: Any, trials: Sequence[int], optimizers: Sequence[Any]) -> None:
    """Takes one step of each of the trials, over one forward pass."""
    losses(model, rows, trials).sum().backward()
    for place in trials:
        optimizers[place].step()
        optimizers[place].zero_grad()


def timed(work: Callable[[], None], device: str) -> float:
    """Returns the seconds that something takes."""
    import torch

    def settled() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    began = settled()
    work()
    return settled() - began


def compare(model: Any, rows: Any, count: int, device: str) -> tuple[float, float]:
    """Returns the median seconds of a step of each of so many trials, one after the other and packed."""
    import torch

    own = [[p for key, p in model.named_parameters() if f".{name(place)}." in key] for place in range(count)]
    optimizers = [torch.optim.AdamW(parameters, lr=1e-4) for parameters in own]

    def apart() -> None:
        for place in range(count):
            step(model, rows, [place], optimizers)

    together = partial(step, model, rows, range(count), optimizers)
    pairs = [(timed(apart, device), timed(together, device)) for _ in range(ROUNDS + 1)][1:]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)


def main() -> None:
    """Prints a line for each number of trials."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=16, help="of each trial's batch")
    parser.add_argument("--tokens", type=int, default=32, help="of each row")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="processor threads")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads or torch.get_num_threads())
    model = adapted(asked.model, max(PACKS), asked.rank, asked.device)
    rows = torch.randint(1000, 5000, (asked.rows, asked.tokens), device=asked.device)
    print(f"gradients packed differ from those alone by {check(model, rows, 2):.1e} of the largest")
    for count in PACKS:
        apart, together = compare(model, rows, count, asked.device)
        print(
            f"{count} trials, a step each: {apart:.3f} s apart, {together:.3f} s packed, {apart / together:.2f} times"
        )


if __name__ == "__main__":
    main()
