"""GaLore: AdamW on gradients projected to a low rank, so that full fine-tuning keeps little state.

transformers' own integration calls the paper's library, which is not among the dependencies, so the algorithm is
written out in `_galore.py`.
"""

from typing import Any

from autopeft.optimizers._declaration import Optimizer
from autopeft.optimizers._groups import model_groups, trainable, unsuited

RANK, GAP, SCALE = 16, 200, 0.25
_TYPICAL_MATRIX = (1024, 1024)
"""State falls with the matrix's sides; this one is small, so the figure is on the high side."""


def _build(model: Any, learning_rate: float, weight_decay: float) -> Any:
    """Returns the optimizer; matrices whose smaller side is at most the rank get plain AdamW.

    Raises:
        InvalidValueError: nothing that trains is large enough to be projected.
    """
    from autopeft.optimizers._galore import GaLoreAdamW, is_projected

    if not any(is_projected(parameter, RANK) for _, parameter in trainable(model)):
        because = f"no trained matrix has both sides above {RANK}, the projection's rank"
        raise unsuited("galore", because, "a method that trains the model's own matrices")
    groups = model_groups(model, learning_rate, weight_decay)
    return GaLoreAdamW(groups, lr=learning_rate, rank=RANK, gap=GAP, scale=SCALE)


OPTIMIZER = Optimizer(
    name="galore",
    title="GaLore, AdamW on projected gradients",
    # two moments of (rank, long side) and the projection of (short side, rank), float32
    state_bytes_per_parameter=4 * RANK * (2 * _TYPICAL_MATRIX[1] + _TYPICAL_MATRIX[0]) / 1024**2,
    typical_matrix=_TYPICAL_MATRIX,
    build=_build,
    trainer_name="galore_adamw",
    options={"rank": RANK, "gap": GAP, "scale": SCALE},
    trainer_arguments={
        "optim_target_modules": "all-linear",
        "optim_args": f"rank={RANK}, update_proj_gap={GAP}, scale={SCALE}",
    },
    trainer_note="it projects linear layers alone, and needs the package galore_torch",
    needs_cuda=False,
    source="Zhao et al., arXiv 2403.03507, algorithm 2: a new projection every 200 steps, scale 0.25",
)
