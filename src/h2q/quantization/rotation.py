"""Quantizers that rotate: centering, principal components, whitening, and the rotation that a subclass learns."""

import warnings
from abc import abstractmethod
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_n_bits
from h2q.errors import describe
from h2q.quantization.base import BaseQuantizer, chunk_rows
from h2q.quantization.drift import reference_rows
from h2q.quantization.reduction import principal_components
from h2q.quantization.sampling import may_share_memory, sample_rows
from h2q.quantization.similar_rows import (
    POWERS,
    LabeledRows,
    PairedRows,
    best_power,
    sample_similar_rows,
    scatter_power,
)

__all__ = ["RotationQuantizer", "check_width", "measure_spread"]


class RotationQuantizer(BaseQuantizer):
    """Codes by a rotation: ``sgn((x - mean_) projection_)``; a subclass learns the rotation."""

    n_bits: int | None
    whitening: float | str
    whitening_: float
    rotation_: NDArray[np.float32]

    @abstractmethod
    def _find_rotation(self, Z: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """Return the (k, k) rotation for rows of norm sqrt(k); set other fitted attributes."""

    def fit(self, X: Any, y: Any = None, *, pairs: Any = None) -> Self:
        """Learn mean, components and rotation from embeddings.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Array, memory map, list, torch tensor, or an iterable of batches. If there are more than `max_samples` rows,
            a uniform sample is used; of an array, only these rows are read.
        y : array-like of shape (n,) or (n, n_classes), optional
            Class ids or multi-hot rows. Used with ``whitening="auto"`` only.
        pairs : array-like of int, shape (n_pairs, 2), optional
            Instead of `y`: rows of `X` that are similar. Used with ``whitening="auto"`` only.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the embeddings, the labels or a parameter are invalid; the message says what is expected.
        """
        generator = self._start_fit()
        if self.whitening == "auto" and (y is not None or pairs is not None):
            rows, similar = sample_similar_rows(
                X, y, pairs, self.max_samples, generator, allow_zero_rows=self._allow_zero_rows
            )
        else:
            rows, similar = sample_rows(X, self.max_samples, generator, allow_zero_rows=self._allow_zero_rows), None
        n, d = rows.shape
        k = check_width(self.n_bits, n, d)
        if may_share_memory(rows, X):
            rows = np.array(rows)
        reference = reference_rows(rows)
        norms = np.linalg.norm(rows, axis=1) if self.center else np.ones(n, np.float32)
        mean = _center(rows) if self.center else _normalize(rows)
        spread = measure_spread(rows, norms)
        # A row that is the mean has no direction; what is left of it after rounding has a random one.
        smallest = 1e-6 * float(np.abs(mean).max(initial=0.0)) * np.sqrt(d)
        if self.whitening == "auto":
            power = 0.0 if similar is None else self._choose_power(rows, similar, k, smallest, deepcopy(generator))
            reduction = _reduce(rows, k, scatter=None if similar is None else similar.scatter(rows), power=power)
        else:
            power = float(self.whitening)
            reduction = _reduce(rows, k, whitening=power)
        if reduction is not None:
            rows = rows @ reduction.forward
        elif self.center:
            _warn_if_constant(rows)
        rows, norms = _to_sphere(rows, smallest)
        rotation = self._find_rotation(rows, generator)
        decoder: NDArray[np.float32] = _mean_absolute(rows, rotation, norms / np.sqrt(k))[:, None] * rotation.T
        # Only now, so that an interrupted fit leaves the quantizer as it was.
        self._set_features(X, d)
        self.n_bits_, self.mean_, self.spread_, self.rotation_ = k, mean, spread, rotation
        self.whitening_ = power
        self.projection_ = rotation if reduction is None else reduction.forward @ rotation
        self.reconstruction_ = decoder if reduction is None else decoder @ reduction.backward
        self._set_statistics(reference, n)
        return self

    def _choose_power(
        self,
        rows: NDArray[np.float32],
        similar: LabeledRows | PairedRows,
        k: int,
        smallest: float,
        generator: np.random.Generator,
    ) -> float:
        """Return the power of the whitening that is best for rows held out."""
        held_out = similar.hold_out(rows, generator)
        seed = int(generator.integers(2**31))  # the same for each power: a paired comparison
        precisions = {}
        for power in POWERS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the fit to all rows warns
                reduction = _reduce(rows[held_out.fitted], k, scatter=held_out.scatter, power=power)
                forward = np.eye(k, dtype=np.float32) if reduction is None else reduction.forward
                fitted, _ = _to_sphere(rows[held_out.fitted] @ forward, smallest)
                projection = forward @ self._find_rotation(fitted, np.random.default_rng(seed))
            precisions[power] = held_out.judge(rows[held_out.queries] @ projection, rows[held_out.items] @ projection)
        return best_power(precisions)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.n_bits is not None:
            check_n_bits(self.n_bits)
        if not isinstance(self.center, (bool, np.bool_)):
            raise TypeError(f"center must be True or False; got {describe(self.center)}")
        if self.whitening != "auto":
            if isinstance(self.whitening, bool) or not isinstance(
                self.whitening, (int, float, np.floating, np.integer)
            ):
                raise TypeError(f'whitening must be a number from 0 to 1, or "auto"; got {describe(self.whitening)}')
            if not 0 <= self.whitening <= 1:
                raise ValueError(f"whitening must be from 0 (none) to 1 (unit variance); got {self.whitening}")

    @classmethod
    def tensor_shapes(cls, n_bits: int, n_features: int) -> dict[str, tuple[int, ...]]:
        """Return the fitted float32 attributes that a file holds, and their shapes."""
        return super().tensor_shapes(n_bits, n_features) | {"rotation_": (n_bits, n_bits)}


@dataclass(frozen=True)
class _Reduction:
    """Matrices to (whitened) principal components, ``forward`` of shape (d, k), and back, ``backward`` (k, d)."""

    forward: NDArray[np.float32]
    backward: NDArray[np.float32]


def check_width(n_bits: int | None, n: int, d: int) -> int:
    """Return the number of bits for n rows of d features; None: d.

    Raises
    ------
    ValueError
        If there are more bits than features.
    """
    k = d if n_bits is None else int(n_bits)
    if k > d:
        raise ValueError(
            f"n_bits must be at most the number of features, {d}; got {k}: a rotation gives one bit a dimension. "
            f"Use n_bits={d} (or None), or embeddings of more dimensions"
        )
    check_n_bits(k, "n_bits (by default the number of features of X)")
    if n < k:
        warnings.warn(
            f"X has {n} rows, fewer than the {k} bits: the rotation fits these rows and may not suit others; "
            "pass more rows or fewer bits",
            UserWarning,
            stacklevel=3,
        )
    return k


def _center(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the mean in place; return it."""
    mean: NDArray[np.float32] = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows -= mean
    return mean


def _normalize(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to unit norm in place; return the mean to subtract: zeros."""
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.zeros(rows.shape[1], np.float32)


def measure_spread(centered: NDArray[np.float32], norms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean square of centered rows, and the standard deviation of the rows' norms over their mean.

    >>> measure_spread(np.array([[1.0, 1.0], [0.0, 2.0]], np.float32), np.array([1.0, 3.0], np.float32))
    array([3. , 0.5], dtype=float32)
    """
    mean_square = np.einsum("ij,ij->", centered, centered, dtype=np.float64) / len(centered)
    mean_norm = norms.mean(dtype=np.float64)
    return np.array([mean_square, norms.std(dtype=np.float64) / mean_norm if mean_norm > 0 else 0], np.float32)


def _reduce(
    rows: NDArray[np.float32],
    k: int,
    *,
    whitening: float = 0.0,
    scatter: NDArray[np.float64] | None = None,
    power: float = 0.0,
) -> _Reduction | None:
    """Return the map to k principal components; None if it would change nothing.

    With `whitening`, components are scaled by variance^(-whitening / 2). With `power`, rows are first multiplied by
    scatter^(-power / 2).
    """
    d = rows.shape[1]
    if scatter is not None and power > 0:
        forward, backward = scatter_power(scatter, power)
        reduced = _reduce(rows @ forward, k)
        if reduced is None:
            return _Reduction(forward, backward)
        return _Reduction(forward @ reduced.forward, reduced.backward @ backward)
    if k == d and whitening == 0:
        return None
    components = principal_components(rows, k)
    if components.rank < min(k, len(rows)):
        warnings.warn(
            f"X varies in {components.rank} directions, fewer than the {k} bits: further bits carry no information; "
            f"n_bits={max(components.rank, 1)} is enough",
            UserWarning,
            stacklevel=3,
        )
    scales = np.ones(k)
    scales[: components.rank] = components.variances[: components.rank] ** (-whitening / 2)
    scale = scales.astype(np.float32)[:, None]
    return _Reduction(np.ascontiguousarray((components.directions * scale).T), components.directions / scale)


def _to_sphere(rows: NDArray[np.float32], smallest: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale rows to norm sqrt(k), in place where possible; drop rows of norm `smallest` or less; return norms, too."""
    k = rows.shape[1]
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    directed = norms > smallest
    if not directed.any():
        warnings.warn(
            "all rows of X are the same: there is nothing to learn, and items like them get an arbitrary code",
            UserWarning,
            stacklevel=3,
        )
        return np.ones((1, k), np.float32), np.zeros(1, np.float32)
    if not directed.all():
        rows, norms = rows[directed], norms[directed]
    rows *= (np.sqrt(k) / norms)[:, None]
    return rows, norms


def _warn_if_constant(rows: NDArray[np.float32]) -> None:
    """Warn of constant columns, which are zero after centering."""
    constant = int((~rows.any(axis=0)).sum())
    if 0 < constant < rows.shape[1]:
        warnings.warn(
            f"X has {constant} constant column(s): rotated with the others, they carry no information; "
            f"n_bits={rows.shape[1] - constant} leaves them out",
            UserWarning,
            stacklevel=3,
        )


def _mean_absolute(
    rows: NDArray[np.float32], rotation: NDArray[np.float32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the mean absolute value of each rotated coordinate, rows weighted: the least-squares scale of a bit."""
    total, size = np.zeros(len(rotation)), chunk_rows(len(rotation))
    for start in range(0, len(rows), size):
        total += weights[start : start + size] @ np.abs(rows[start : start + size] @ rotation)
    return (total / len(rows)).astype(np.float32)
