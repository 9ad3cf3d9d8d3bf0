"""The bottleneck adapter as a torch module; imported by the functions that build it, so that others need no torch."""

from typing import cast

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class Bottleneck(nn.Module):
    """Adds ``scale · up(dropout(activation(down(hidden))))`` to a hidden state of shape (…, width).

    The up-projection starts at zero, so that the sum is the hidden state itself. Weights are float32 whatever the
    model's dtype; the result has the hidden state's dtype.
    """

    def __init__(self, width: int, bottleneck: int, activation: str, dropout: float, scale: float = 1.0) -> None:
        super().__init__()
        self.activation_name = activation
        self.scale = scale
        self.down = nn.Linear(width, bottleneck)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def update(self, hidden: Tensor) -> Tensor:
        """Returns what is added, in the hidden state's dtype."""
        inner = self.activation(self.down(hidden.to(self.down.weight.dtype)))
        made = cast("Tensor", self.up(self.dropout(inner)))
        return (made * self.scale).to(hidden.dtype)

    def forward(self, hidden: Tensor) -> Tensor:
        """Returns the adapted hidden state."""
        return hidden + self.update(hidden)
