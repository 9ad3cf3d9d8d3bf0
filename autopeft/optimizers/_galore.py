"""GaLore's step as a torch optimizer; imported by the function that builds it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def is_projected(parameter: Any, rank: int) -> bool:
    """Whether a parameter is a matrix with both sides above the rank."""
    return bool(parameter.ndim == 2 and min(parameter.shape) > rank)


class GaLoreAdamW(torch.optim.Optimizer):
    """AdamW whose moments live in a low-rank projection of each large matrix's gradient.

    With G = U Σ Vᵀ and m ≤ n, P is the first ``rank`` columns of U, recomputed every ``gap`` steps; Adam sees Pᵀ G,
    and the weight moves by scale · P times Adam's step (Zhao et al., arXiv 2403.03507, algorithm 2). With m > n the
    projection stands on the right.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        rank: int,
        gap: int,
        scale: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        """Takes parameter groups with ``lr`` and ``weight_decay`` of their own."""
        defaults = {"lr": lr, "weight_decay": 0.0, "rank": rank, "gap": gap, "scale": scale, "betas": betas, "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step and returns the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        gradient = parameter.grad
        if gradient is None or not is_projected(parameter, group["rank"]):
            direction = gradient if gradient is None else _adam(gradient, state, group)
        else:
            direction = _projected(gradient, state, group)
        if direction is not None:
            parameter.sub_(group["lr"] * direction)


def _projected(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    rows, columns = gradient.shape
    wide = gradient if rows <= columns else gradient.T
    if (state["step"] - 1) % group["gap"] == 0:
        u, _, _ = torch.linalg.svd(wide.float(), full_matrices=False)
        state["projection"] = u[:, : group["rank"]].to(gradient.dtype).contiguous()
    direction = state["projection"] @ _adam(state["projection"].T @ wide, state, group)
    result: Tensor = group["scale"] * (direction if rows <= columns else direction.T)
    return result


def _adam(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Returns Adam's bias-corrected direction for a gradient and updates its moments."""
    first_rate, second_rate = group["betas"]
    if "first" not in state:
        state["first"], state["second"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    first: Tensor = state["first"].lerp_(gradient, 1 - first_rate)
    second: Tensor = state["second"].mul_(second_rate).addcmul_(gradient, gradient, value=1 - second_rate)
    size = (second / (1 - second_rate ** state["step"])).sqrt_().add_(group["eps"])
    direction: Tensor = first / (1 - first_rate ** state["step"]) / size
    return direction
