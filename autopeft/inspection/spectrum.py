"""Numbers about an update ΔW = scale · B A, from its factors alone: ΔW itself is never made.

Needs numpy, no torch.
"""

from collections.abc import Iterator
from math import ceil, log2
from typing import Any

STEP = 0.99
"""Share of the squared norm that the significant directions hold."""


def singular_values(down: Any, up: Any, scale: float) -> Any:
    """Returns the singular values of scale · up @ down, descending, as many as the rank or the smaller side.

    Two QR decompositions bring the product to a square of the rank's size, of which the values are taken: the time
    grows with (in + out) · rank², the memory with the factors.

    Args:
        down: A of shape (rank, in).
        up: B of shape (out, rank).
        scale: what multiplies the product.
    """
    import numpy as np

    _, left = np.linalg.qr(np.asarray(up, dtype=np.float64))
    _, right = np.linalg.qr(np.asarray(down, dtype=np.float64).T)
    return abs(scale) * np.linalg.svd(left @ right.T, compute_uv=False)


def effective_rank(values: Any) -> float:
    """Returns the exponential of the entropy of the values as shares of their sum (Roy & Vetterli 2007).

    Between 1, one direction, and their number, all alike; 0 where nothing moved.
    """
    import numpy as np

    total = float(np.sum(values))
    return float(np.exp(_entropy(np.asarray(values) / total))) if total > 0 else 0.0


def stable_rank(values: Any) -> float:
    """Returns the squared Frobenius norm over the squared largest value; 0 where nothing moved."""
    import numpy as np

    top = float(np.max(values, initial=0.0))
    return float(np.sum(np.square(values / top))) if top > 0 else 0.0


def significant(values: Any) -> int:
    """Returns how many directions hold 99 % of the squared norm."""
    import numpy as np

    squares = np.square(values)
    if not float(squares.sum()) > 0:
        return 0
    return int(np.searchsorted(np.cumsum(squares) / squares.sum(), STEP) + 1)


def _entropy(shares: Any) -> float:
    """Returns −Σ p ln p, in nats."""
    import numpy as np

    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def entanglement_profile(down: Any, up: Any) -> tuple[float, ...]:
    """Returns the entanglement entropy, in nats, at each cut of the update read as a matrix product state.

    What is computed: ΔW, of shape (out, in), is padded with zeros to (2^m, 2^n) and normalised to a Frobenius norm of
    one. The bits of the row index and then the bits of the column index, the most significant first, are m + n sites
    of two levels each. For every cut k between them, 1 ≤ k < m + n, the entropy is −Σ p ln p over the squared singular
    values p of the tensor reshaped to (2^k, 2^(m+n−k)): what a matrix product state has to carry across that bond. The
    cut at k = m, between rows and columns, is that of ΔW's own spectrum, at most ln(rank). Cuts inside the rows
    ask how far the output's parts are moved alike, cuts inside the columns how far the input's parts are read alike.
    The order of a network's neurons is a convention, so profiles compare layers, and adapters of one base; they are
    no absolute measure. The idea of reading adapters' updates so is that of arXiv 2601.06788.

    ΔW is not made: with QR factors B = Q R and A^T = P S, a cut inside the rows has the spectrum of Q's rows reshaped
    to (2^k, rest · rank) times R S^T, and likewise for the columns.

    Args:
        down: A of shape (rank, in).
        up: B of shape (out, rank).
    """
    import numpy as np

    left, right = np.asarray(up, dtype=np.float64), np.asarray(down, dtype=np.float64).T
    # ΔW = U C V^T with U, V orthonormal: rows see U C, columns see V C^T.
    rows, inner_rows = np.linalg.qr(left)
    columns, inner_columns = np.linalg.qr(right)
    core = inner_rows @ inner_columns.T
    norm = float(np.linalg.norm(core))
    if not norm > 0:
        return ()
    by_rows, by_columns = rows @ core / norm, columns @ core.T / norm
    inside_rows = [_cut_entropy(_values(part)) for part in _row_cuts(by_rows)]
    middle = _cut_entropy(np.linalg.svd(core / norm, compute_uv=False))
    inside_columns = [_cut_entropy(_values(part)) for part in _column_cuts(by_columns)]
    return (*inside_rows, middle, *inside_columns)


def _row_cuts(tall: Any) -> Iterator[Any]:
    """Yields the matrices of the cuts inside the row index: its leading bits against its others and the columns."""
    bits, padded = _padded(tall)
    for cut in range(1, bits):
        yield padded.reshape(2**cut, -1)


def _column_cuts(tall: Any) -> Iterator[Any]:
    """Yields those inside the column index: the rows and its leading bits against its other bits."""
    bits, padded = _padded(tall)
    for cut in range(1, bits):
        blocks = padded.reshape(2**cut, 2 ** (bits - cut), -1)
        yield blocks.transpose(0, 2, 1).reshape(-1, 2 ** (bits - cut))


def _padded(tall: Any) -> tuple[int, Any]:
    import numpy as np

    bits = max(1, ceil(log2(max(2, tall.shape[0]))))
    padded = np.zeros((2**bits, tall.shape[1]))
    padded[: tall.shape[0]] = tall
    return bits, padded


def _values(matrix: Any) -> Any:
    """Returns singular values through the smaller Gram matrix: half the digits, which an entropy does not need."""
    import numpy as np

    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return np.sqrt(np.clip(np.linalg.eigvalsh(gram), 0, None))


def _cut_entropy(values: Any) -> float:
    import numpy as np

    squares = np.square(values)
    return _entropy(squares / squares.sum())
