"""Codes for a linear decoder: improve the signs of an embedding by flipping single bits.

For a decoder V of shape (k, d), the code b in {-1, 1}^k of a vector y should minimize |y - V^T b|^2. Let G = V V^T.
Flipping bit j changes this error by 4 h_j, where h = b * (V (y - V^T b)) + diag(G); it negates h_j and adds
2 b_i b_j G_ij to every other h_i. The descent starts from sgn(V y), flips bits while that lowers the error, then
repeats this after random kicks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Decoder", "refine_codes", "score_scalars"]

_BLOCK = 32  # bits that are checked at a time
_EITHER_SIGN = np.uint64(0x80000000_80000000)  # the sign bits of two float32 in a word
_KICKED = 4  # bits that a kick flips
_ROWS = 16  # embeddings that share a pass over the matrices
_SWEEPS = 20  # at most, until no flip helps; rounding errors could otherwise flip a bit back and forth


@dataclass(frozen=True)
class Decoder:
    """A linear decoder, laid out for the compiled descent.

    Attributes
    ----------
    rows : ndarray of float32, shape (k, d)
        The decoder V.
    columns : ndarray of float32, shape (d, padded)
        V^T; columns beyond k are zero, up to a multiple of 32.
    gram : ndarray of float32, shape (padded, padded)
        V V^T, with ones on the rest of the diagonal.
    """

    rows: NDArray[np.float32]
    columns: NDArray[np.float32]
    gram: NDArray[np.float32]

    @classmethod
    def from_rows(cls, rows: NDArray[np.float32]) -> "Decoder":
        """Lay out a decoder of shape (k, d)."""
        k, d = rows.shape
        padded = -(-k // _BLOCK) * _BLOCK
        columns, gram = np.zeros((d, padded), np.float32), np.eye(padded, dtype=np.float32)
        columns[:, :k] = rows.T
        gram[:k, :k] = rows.astype(np.float64) @ rows.T.astype(np.float64)
        return cls(np.ascontiguousarray(rows), columns, gram)


def refine_codes(
    centered: NDArray[np.float32], decoder: Decoder, radius: float, kicks: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return codes of rows scaled to norm `radius`; a row's code depends on nothing but the row.

    Parameters
    ----------
    centered : ndarray of float32, shape (n, d)
        Rows minus the mean.
    decoder : Decoder
        The linear decoder.
    radius : float
        Norm that rows are scaled to, the typical norm of ``b @ decoder.rows``.
    kicks : int
        Kicks of each row: four random bits are flipped, the descent repeated, and a lower error kept. The random
        numbers are seeded by the row's content.

    Returns
    -------
    bits : ndarray of bool, shape (n, k)
        The codes.
    kept : ndarray of int64, shape (n,)
        Kicks that lowered the error.

    Examples
    --------
    >>> decoder = Decoder.from_rows(np.array([[1, 0], [1, 1]], np.float32))
    >>> bits, _ = refine_codes(np.array([[2, 1], [0, -1]], np.float32), decoder, 2.2, 0)
    >>> bits.tolist()
    [[True, True], [True, False]]
    """
    n, k = len(centered), len(decoder.rows)
    bits, kept = np.empty((n, k), np.bool_), np.empty(n, np.int64)
    _refine(np.ascontiguousarray(centered), decoder.columns, decoder.gram, float(radius), kicks, bits, kept)
    return bits, kept


def score_scalars(
    centered: NDArray[np.float32],
    bits: NDArray[np.bool_],
    decoder: Decoder,
    mean: NDArray[np.float32],
    smoother: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scale and offset of items, so that ``scale * <V q, b> + offset`` estimates <q, x - mean>.

    With R = V^T b, the scale is |c| / |R| for c = x - mean; the error e = c - scale * R adds <q, e> to the product. The
    queries that look for x lie around mean + A c, so the offset is <mean + A c, e>.

    Parameters
    ----------
    centered : ndarray of float32, shape (n, d)
        Rows c.
    bits : ndarray of bool, shape (n, k)
        Their codes.
    decoder : Decoder
        The linear decoder V.
    mean : ndarray of float32, shape (d,)
        The mean.
    smoother : ndarray of float32, shape (d, d)
        The matrix A, symmetric.

    Returns
    -------
    scales, offsets : ndarray of float32, shape (n,)
        A row that is the mean has scale 0 and offset 0.
    """
    scales, offsets = np.empty(len(centered), np.float32), np.empty(len(centered), np.float32)
    _scalars(np.ascontiguousarray(centered), bits, decoder.rows, mean, smoother, scales, offsets)
    return scales, offsets


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _add_product(rows: Any, matrix: Any, out: Any) -> None:
    """Add ``rows @ matrix`` to `out`; the result of a row does not depend on the other rows."""
    n = len(matrix)
    for i in range(0, n - n % 4, 4):
        for r in range(len(rows)):
            a, b, c, d = rows[r, i], rows[r, i + 1], rows[r, i + 2], rows[r, i + 3]
            for j in range(out.shape[1]):
                out[r, j] += (a * matrix[i, j] + b * matrix[i + 1, j]) + (c * matrix[i + 2, j] + d * matrix[i + 3, j])
    for i in range(n - n % 4, n):
        for r in range(len(rows)):
            a = rows[r, i]
            for j in range(out.shape[1]):
                out[r, j] += a * matrix[i, j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _flip(j: Any, signs: Any, changes: Any, gram: Any) -> float:
    """Flip bit j; return the change of the error over 4."""
    change, step = changes[j], np.float32(2) * signs[j]
    for i in range(len(signs)):
        changes[i] += step * signs[i] * gram[j, i]
    changes[j], signs[j] = -change, -signs[j]
    return float(change)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _sweep(signs: Any, changes: Any, gram: Any) -> float:
    """Flip bits in turn while that lowers the error; return the change of the error over 4."""
    total = 0.0
    words = changes.view(np.uint64)
    for _ in range(_SWEEPS):
        flipped = False
        for block in range(0, len(words), _BLOCK // 2):
            # Almost always no change of a block is negative: a few instructions tell.
            either = np.uint64(0)
            for word in range(block, block + _BLOCK // 2):
                either |= words[word]
            if either & _EITHER_SIGN == 0:
                continue
            for j in range(2 * block, 2 * block + _BLOCK):
                if changes[j] < np.float32(-1e-7):
                    total += _flip(j, signs, changes, gram)
                    flipped = True
        if not flipped:
            break
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _start(rows: Any, columns: Any, gram: Any, n_bits: int, signs: Any, changes: Any) -> None:
    """Set signs to sgn(V y), and changes to what flipping each would do; padding is never flipped."""
    changes[:] = 0
    _add_product(rows, columns, changes)
    for r in range(len(rows)):
        for j in range(signs.shape[1]):
            signs[r, j] = np.float32(-1) if changes[r, j] > 0 else np.float32(1)
    _add_product(signs, gram, changes)  # with opposite signs: what is left of V y
    for r in range(len(rows)):
        for j in range(n_bits):
            signs[r, j] = -signs[r, j]
            changes[r, j] = signs[r, j] * changes[r, j] + gram[j, j]
        for j in range(n_bits, signs.shape[1]):
            signs[r, j], changes[r, j] = np.float32(1), np.float32(1)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _copy(source: Any, target: Any) -> None:
    for j in range(len(target)):
        target[j] = source[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _descend(signs: Any, changes: Any, gram: Any, n_bits: int, kicks: int, state: Any) -> int:
    """Descend from one start and from kicks of the best code so far; return how many kicks helped."""
    _sweep(signs, changes, gram)
    trial_signs, trial_changes = np.empty_like(signs), np.empty_like(changes)
    kept = 0
    for _ in range(kicks):
        _copy(signs, trial_signs)
        _copy(changes, trial_changes)
        change = 0.0
        for _ in range(_KICKED):
            state ^= state << np.uint64(13)  # xorshift
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            j = np.int64((state >> np.uint64(33)) % np.uint64(n_bits))
            change += _flip(j, trial_signs, trial_changes, gram)
        change += _sweep(trial_signs, trial_changes, gram)
        if change < -1e-6:
            _copy(trial_signs, signs)
            _copy(trial_changes, changes)
            kept += 1
    return kept


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _refine(centered: Any, columns: Any, gram: Any, radius: float, kicks: int, bits: Any, kept: Any) -> None:
    n, k = bits.shape
    rows = np.empty((_ROWS, centered.shape[1]), np.float32)
    signs, changes = np.empty((_ROWS, len(gram)), np.float32), np.empty((_ROWS, len(gram)), np.float32)
    states = np.empty(_ROWS, np.uint64)
    for first in range(0, n, _ROWS):
        count = min(_ROWS, n - first)
        for r in range(count):
            content = centered[first + r].view(np.uint32)
            state, square = np.uint64(14695981039346656037), 0.0
            for j in range(len(content)):
                state = (state ^ np.uint64(content[j])) * np.uint64(1099511628211)  # FNV-1a
                square += centered[first + r, j] * centered[first + r, j]
            states[r] = state | np.uint64(1)
            scale = np.float32(radius / np.sqrt(square)) if square > 0 else np.float32(0)
            for j in range(len(content)):
                rows[r, j] = scale * centered[first + r, j]
        _start(rows[:count], columns, gram, k, signs[:count], changes[:count])
        for r in range(count):
            kept[first + r] = _descend(signs[r], changes[r], gram, k, kicks, states[r])
            for j in range(k):
                bits[first + r, j] = signs[r, j] > 0


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _scalars(centered: Any, bits: Any, decoder: Any, mean: Any, smoother: Any, scales: Any, offsets: Any) -> None:
    n, d = centered.shape
    signs = np.empty((_ROWS, len(decoder)), np.float32)
    decoded, targets = np.empty((_ROWS, d), np.float32), np.empty((_ROWS, d), np.float32)
    for first in range(0, n, _ROWS):
        count = min(_ROWS, n - first)
        for r in range(count):
            for j in range(len(decoder)):
                signs[r, j] = np.float32(1) if bits[first + r, j] else np.float32(-1)
            for j in range(d):
                decoded[r, j], targets[r, j] = 0, mean[j]
        _add_product(signs[:count], decoder, decoded[:count])
        _add_product(centered[first : first + count], smoother, targets[:count])
        for r in range(count):
            square, size, product, along = 0.0, 0.0, 0.0, 0.0
            for j in range(d):
                square += centered[first + r, j] * centered[first + r, j]
                size += decoded[r, j] * decoded[r, j]
                product += targets[r, j] * centered[first + r, j]
                along += targets[r, j] * decoded[r, j]
            scale = np.sqrt(square / size) if size > 0 else 0.0
            scales[first + r], offsets[first + r] = scale, product - scale * along if square > 0 else 0.0
