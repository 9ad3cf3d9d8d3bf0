"""Several processes that train one model together: what each takes of a batch, and what they agree on.

Under ``fsdp`` each process holds its share of all parameters, gradients and optimizer state (accelerate's FSDP2, after
Zhao et al., *PyTorch FSDP*, arXiv 2304.11277); under ``ddp`` each holds the whole model and gradients are summed (Li et
al., *PyTorch Distributed*, arXiv 2006.15704). Either way a step is the one that a single process would take: each
micro-batch is divided by rows, and each share's mean loss weighs what it counts for in the whole batch's.

Losses and decisions are exchanged on the processor; parameters and gradients on the device that they lie on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from autopeft.values.names import Strategy


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """One process's place among those that train together.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
        strategy: how they share the model; ``none`` for a process that trains alone.
    """

    rank: int = 0
    size: int = 1
    strategy: Strategy = "none"

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a share of the model."""
        return self.strategy == "fsdp"

    def share(self, rows: Sequence[int]) -> Sequence[int]:
        """Returns this process's rows of a batch: every so many-th, none where there are fewer rows than processes."""
        return rows[self.rank :: self.size]

    def total(self, *values: float) -> tuple[float, ...]:
        """Returns the sums of each value over all processes, the same on each; all of them must call it."""
        if self.size == 1:
            return values
        import torch

        sums = torch.tensor(values, dtype=torch.float64)
        torch.distributed.all_reduce(sums)
        return tuple(sums.tolist())

    def agreed(self, value: Any) -> Any:
        """Returns the first process's value on each of them; all of them must call it."""
        if self.size == 1:
            return value
        import torch

        said = [value]
        torch.distributed.broadcast_object_list(said)
        return said[0]

    def gathered(self, value: Any) -> tuple[Any, ...]:
        """Returns the values of all processes by rank, on each of them; all of them must call it."""
        if self.size == 1:
            return (value,)
        import torch

        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return tuple(values)

    def divided(self, model: Any, device: str) -> Any:
        """Returns a model on the device as this process trains it, changed in place where it is sharded.

        Raises:
            RuntimeError: accelerate has left some of it whole.
        """
        if not self.sharded:
            return model
        from accelerate.utils import fsdp2_prepare_model

        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()  # FSDP divides no others
        model = fsdp2_prepare_model(_accelerator(model, device), model)
        if not all(hasattr(parameter, "full_tensor") for parameter in model.parameters()):
            raise RuntimeError("The model was not divided over the processes.")
        for module in _sharded_modules(model):
            # Each process weighs its loss by its share of the batch, so gradients are summed and not averaged.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        _gather_to_write(model)
        return model

    def sum_gradients(self, parameters: Iterable[Any]) -> None:
        """Makes each gradient the sum over the processes; those of a sharded model are that after its backward pass."""
        if self.strategy != "ddp":
            return
        import torch

        trained = list(parameters)
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.reshape(-1).float() for parameter in trained])
        torch.distributed.all_reduce(flat)
        for parameter, total in zip(trained, flat.split([p.numel() for p in trained]), strict=True):
            parameter.grad.copy_(total.view_as(parameter))


ALONE = Parallel()
"""A process that trains by itself."""


def whole(value: Any) -> Any:
    """Returns a copy of a tensor, of a sharded one the whole of it on the processor; other values as they are."""
    if hasattr(value, "full_tensor"):
        return value.detach().full_tensor().cpu()
    return value.detach().clone() if hasattr(value, "detach") else value


def parted(value: Any, like: Any) -> Any:
    """Returns a whole tensor divided as a sharded one of its shape is, any other value as it is."""
    if not hasattr(like, "full_tensor") or getattr(value, "shape", None) != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def _accelerator(model: Any, device: str) -> Any:
    from accelerate import Accelerator, FullyShardedDataParallelPlugin

    # Every process has loaded the whole base into main memory; each module goes to the device as it is divided.
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=False,
        transformer_cls_names_to_wrap=_layer_classes(model),
    )  # fmt: skip
    accelerator = Accelerator(fsdp_plugin=plugin, cpu=device == "cpu")
    # Accelerate 1.15 drops the plugin without a word where there is no GPU, though torch shards there too.
    accelerator.state.fsdp_plugin = plugin
    return accelerator


def _layer_classes(model: Any) -> list[str]:
    """Returns the classes of the layers, each a unit of sharding.

    Accelerate 1.15 makes the embeddings a unit by themselves; a class that holds them, as encoders name one, is none.
    """
    embeddings = model.get_input_embeddings()
    holders = {type(module).__name__ for module in model.modules() if embeddings in module.modules()}
    return sorted(set(model._no_split_modules or ()) - holders)


def _sharded_modules(model: Any) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _gather_to_write(model: Any) -> None:
    """Lets a model generate text: that enters past its forward pass, which gathers what stands outside the layers."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    if hasattr(model, "generate"):
        register_fsdp_forward_method(model, "generate")
