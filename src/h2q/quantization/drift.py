"""Statistics of rows under a quantizer, and differences between the statistics of fitted rows and of new rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RowStatistics",
    "balance_shift",
    "describe_rows",
    "error_growth",
    "mean_shift",
    "overfitting",
    "reference_rows",
]

_MAX_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """Statistics of rows under a quantizer.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    mean : ndarray of float32, shape (d,)
        Mean of the rows as the quantizer sees them: at unit norm where it scales them, minus its own mean.
    variance : float
        Mean squared distance of the rows to their mean.
    ones : ndarray of float32, shape (n_bits,)
        Share of the rows whose projection has a positive entry, for each bit; 0 to 1.
    error : float
        Quantization error; see `h2q.quantization.base.BaseQuantizer.quantization_error`.
    n_fitted : int or None
        Number of rows that the quantizer was fitted on, where these are among them: their error is below that of other
        rows of their kind. None: they are others.
    """

    n_rows: int
    mean: NDArray[np.float32]
    variance: float
    ones: NDArray[np.float32]
    error: float
    n_fitted: int | None = None


def reference_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a copy of at most 10,000 rows at equal distances, rows of zeros left out.

    >>> reference_rows(np.ones((20_001, 2), np.float32)).shape
    (6667, 2)
    """
    chosen = rows[:: -(-len(rows) // _MAX_ROWS)]
    kept: NDArray[np.float32] = chosen[chosen.any(axis=1)]
    return kept


def describe_rows(quantizer: Any, rows: NDArray[np.float32], *, n_fitted: int | None = None) -> RowStatistics:
    """Return the statistics of rows under a fitted quantizer.

    Parameters
    ----------
    quantizer : BaseQuantizer
        A fitted quantizer.
    rows : ndarray of float32, shape (n, d)
        Embeddings, at least one.
    n_fitted : int, optional
        Number of rows that the quantizer was fitted on, if these are among them.

    Returns
    -------
    RowStatistics
        Their statistics.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q.quantization import HouseholderQuantizer
    >>> X = load_digits().data[:, 1:].astype(np.float32)
    >>> quantizer = HouseholderQuantizer(16, random_state=0).fit(X)
    >>> statistics = describe_rows(quantizer, X)
    >>> statistics.n_rows, statistics.ones.shape, round(statistics.error, 2) == round(quantizer.statistics_.error, 2)
    (1797, (16,), True)
    """
    d = rows.shape[1]

    def totals(centered: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.float64]:
        if not quantizer.center:
            centered = centered / np.linalg.norm(centered, axis=1, keepdims=True)
        squares = np.einsum("ij,ij->", centered, centered, dtype=np.float64)
        sums = centered.sum(axis=0, dtype=np.float64)
        return np.concatenate([sums, np.count_nonzero(z > 0, axis=0), [squares]])[None]

    # A list of batches: rows in memory have no column names to compare.
    total = np.concatenate(list(quantizer._map_rows([rows], totals))).sum(axis=0) / len(rows)
    mean = total[:d]
    return RowStatistics(
        len(rows),
        mean.astype(np.float32),
        float(max(total[-1] - mean @ mean, 0.0)),
        total[d:-1].astype(np.float32),
        quantizer.quantization_error([rows]),
        n_fitted,
    )


def mean_shift(old: RowStatistics, new: RowStatistics) -> float:
    """Return the distance between two means, as a multiple of the root mean squared distance of the old rows to theirs.

    The expectation of the square without drift, tr(covariance) (1 / n_old + 1 / n_new), is subtracted from it, so that
    the value does not depend on the number of rows.

    >>> ones = np.full(2, 0.5, np.float32)
    >>> old = RowStatistics(10**6, np.zeros(2, np.float32), 4.0, ones, 0.3)
    >>> new = RowStatistics(10**6, np.array([1.0, 0.0], np.float32), 4.0, ones, 0.3)
    >>> round(mean_shift(old, new), 3), mean_shift(old, old)
    (0.5, 0.0)
    """
    difference = np.subtract(new.mean, old.mean, dtype=np.float64)
    chance = old.variance / old.n_rows + new.variance / new.n_rows
    squared = max(float(difference @ difference) - chance, 0.0)
    return float(np.sqrt(squared / old.variance)) if old.variance > 0 else 0.0


def balance_shift(old: RowStatistics, new: RowStatistics) -> float:
    """Return the root mean square, over bits, of the change of the share of ones; 0 to 1.

    The expectation of the square without drift is subtracted from it.

    >>> mean = np.zeros(2, np.float32)
    >>> old = RowStatistics(10**6, mean, 1.0, np.array([0.5, 0.5], np.float32), 0.3)
    >>> new = RowStatistics(10**6, mean, 1.0, np.array([0.6, 0.4], np.float32), 0.3)
    >>> round(balance_shift(old, new), 3), balance_shift(old, old)
    (0.1, 0.0)
    """
    p, q = old.ones.astype(np.float64), new.ones.astype(np.float64)
    chance = p * (1 - p) / old.n_rows + q * (1 - q) / new.n_rows
    return float(np.sqrt(max(float(np.mean((p - q) ** 2 - chance)), 0.0)))


def error_growth(old: RowStatistics, new: RowStatistics) -> float:
    """Return the relative growth of the quantization error; negative if it fell.

    >>> mean = np.zeros(2, np.float32)
    >>> old = RowStatistics(100, mean, 1.0, mean, 0.30)
    >>> round(error_growth(old, RowStatistics(100, mean, 1.0, mean, 0.33)), 3)
    0.1
    """
    return new.error / old.error - 1 if old.error > 0 else 0.0


def overfitting(statistics: RowStatistics) -> float:
    """Return the relative excess of the error that held-out rows may have over fitted rows.

    Principal components of d dimensions and a rotation of k bits that were fitted on n rows fit their noise, too: the
    error of held-out rows was measured to be higher by up to (3 k + d) / n (benchmarks/drift.py).

    >>> ones = np.full(64, 0.5, np.float32)
    >>> overfitting(RowStatistics(1000, ones, 1.0, ones, 0.3, n_fitted=12_800))
    0.02
    """
    if statistics.n_fitted is None:
        return 0.0
    return (3 * len(statistics.ones) + len(statistics.mean)) / statistics.n_fitted
