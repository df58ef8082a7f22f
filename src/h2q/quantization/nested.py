"""Nested codes: one code whose prefixes are codes of their own."""

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from h2q.checks import check_integer, check_n_bits
from h2q.errors import describe
from h2q.progress import progress_bar
from h2q.quantization.base import BaseQuantizer
from h2q.quantization.decoders import fit_decoder, start_decoder
from h2q.quantization.drift import reference_rows
from h2q.quantization.neighborhoods import distill
from h2q.quantization.reduction import principal_components
from h2q.quantization.registry import register
from h2q.quantization.rotation import check_width, measure_spread
from h2q.quantization.sampling import sample_rows

__all__ = ["NestedQuantizer", "score_scales"]

_LENGTHS = (16, 32, 64, 128, 256, 384)
_MAX_COMPONENTS = 512  # principal components that are projected, or as many as there are bits


@register("nested", label="nested", position=50)
class NestedQuantizer(BaseQuantizer):
    """One linear code for many lengths: its first 16, 32, 64, ... bits keep the nearest neighbors, too.

    The code is ``sgn((x - mean_) projection_)``. The projection starts as H²Q's rotation of the leading principal
    components, and is then fitted to the neighborhoods of the embeddings at all lengths at once; see
    `h2q.quantization.neighborhoods`. Neighbors are those by cosine.

    Parameters
    ----------
    n_bits : int, optional
        Bits of the whole code. None: the last of `lengths`; if these are None, too, one bit a dimension, at most 384.
    lengths : sequence of int, optional
        Lengths of the prefixes that are fitted, increasing; the last is n_bits. None: those of 16, 32, 64, 128, 256
        and 384 below n_bits, and n_bits.
    center : bool
        True: subtract the mean. False: scale rows to unit norm instead.
    steps : int
        Steps of the descent.
    max_samples : int
        Maximum number of rows to fit on; more are sampled uniformly.
    random_state : int, RandomState, Generator, optional
        Seed. The same seed gives the same bytes on the same machine, library versions and number of BLAS threads.

    Attributes
    ----------
    lengths_ : tuple of int
        Lengths whose prefixes were fitted.
    mean_ : ndarray of float32, shape (d,)
        Mean that is subtracted; zeros if `center` is False.
    projection_ : ndarray of float32, shape (d, n_bits_)
        The projection; its columns are not orthogonal.
    reconstruction_ : ndarray of float32, shape (n_bits_, d)
        Linear decoder of the whole code, by least squares.
    scales_ : ndarray of float32, shape (n_bits_,)
        Scale of the asymmetric score of each prefix; see `score_scales`.
    spread_ : ndarray of float32, shape (2,)
        Mean squared distance of the rows to the mean; standard deviation of their norms over the mean norm.
    loss_curve_ : ndarray of float64, shape (steps,)
        Loss of the batch of each step.
    n_bits_, n_features_in_ : int
        Bits of a code; number d of dimensions of an embedding.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q import BinaryIndex
    >>> X = load_digits().data[:, 1:]
    >>> quantizer = NestedQuantizer(32, steps=50, random_state=0).fit(X)
    >>> quantizer.lengths_
    (16, 32)
    >>> index = BinaryIndex(quantizer=quantizer)
    >>> ids = index.add(X)
    >>> index.search(X[:2], k=3, scoring="hamming", n_bits=16).distances[:, 0]
    array([0, 0], dtype=int32)
    """

    scales_: NDArray[np.float32]
    loss_curve_: NDArray[np.float64]

    def __init__(
        self,
        n_bits: int | None = None,
        lengths: Sequence[int] | None = None,
        *,
        center: bool = True,
        steps: int = 1500,
        max_samples: int = 100_000,
        random_state: Any = None,
    ) -> None:
        self.n_bits = n_bits
        self.lengths = lengths
        self.center = center
        self.steps = steps
        self.max_samples = max_samples
        self.random_state = random_state

    @property
    def lengths_(self) -> tuple[int, ...]:
        """Lengths whose prefixes were fitted."""
        check_is_fitted(self, "projection_")
        return self._lengths_to(self.n_bits_)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn mean, projection and decoder from embeddings.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            As in `HouseholderQuantizer.fit`.
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If the embeddings or a parameter are invalid; the message says what is expected.
        """
        generator = self._start_fit()
        rows = sample_rows(X, self.max_samples, generator, allow_zero_rows=self._allow_zero_rows)
        n, d = rows.shape
        lengths = self._lengths_to(check_width(self._wanted_bits(d), n, d))
        k = lengths[-1]
        norms = np.linalg.norm(rows, axis=1)
        directions = rows / np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32) if self.center else np.zeros(d, np.float32)
        centered = rows - mean if self.center else directions
        spread = measure_spread(centered, norms if self.center else np.ones(n, np.float32))
        if not spread[0] > 1e-12 * float(mean @ mean):
            warnings.warn(
                "all rows of X are the same: there is nothing to learn, and items like them get an arbitrary code",
                UserWarning,
                stacklevel=2,
            )
            centered = np.zeros_like(centered)
        components = principal_components(centered, min(d, max(k, _MAX_COMPONENTS))).directions.T
        reduced = centered @ components
        with progress_bar("nesting codes", self.steps, enabled=self.steps * k > 2**14) as advance:
            start = start_decoder(reduced, k, generator).T
            learned = distill(
                directions[norms > 0], reduced[norms > 0], start, lengths, generator, steps=self.steps, advance=advance
            )
        projection = np.ascontiguousarray(components @ learned.projection)
        projected = centered @ projection
        bits = projected > 0
        # Only now, so that an interrupted fit leaves the quantizer as it was.
        self._set_features(X, d)
        self.n_bits_, self.mean_, self.spread_, self.projection_ = k, mean, spread, projection
        self.reconstruction_ = fit_decoder(bits, centered, np.ones(n, np.float32))
        self.scales_ = score_scales(centered, projected, np.where(bits, np.float32(1), np.float32(-1)))
        self.loss_curve_ = learned.loss_curve
        self._set_statistics(reference_rows(rows), n)
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.n_bits is not None:
            check_n_bits(self.n_bits)
        if not isinstance(self.center, (bool, np.bool_)):
            raise TypeError(f"center must be True or False; got {describe(self.center)}")
        check_integer(self.steps, "steps", low=1)
        if self.lengths is None:
            return
        given: Any = self.lengths
        if isinstance(given, str) or not isinstance(given, (Sequence, np.ndarray)):
            raise TypeError(f"lengths must be whole numbers, such as (16, 32, 64); got {describe(self.lengths)}")
        lengths = [check_integer(length, "every one of lengths", low=1) for length in self.lengths]
        if not lengths or lengths != sorted(set(lengths)):
            raise ValueError(f"lengths must increase, as in (16, 32, 64); got {describe(self.lengths)}")
        if self.n_bits is not None and lengths[-1] != self.n_bits:
            raise ValueError(f"n_bits={self.n_bits} must be the last of the lengths, {lengths[-1]}; leave one out")

    def _wanted_bits(self, d: int) -> int:
        """Return the bits of the whole code for embeddings of d dimensions."""
        if self.n_bits is not None:
            return int(self.n_bits)
        return min(d, _LENGTHS[-1]) if self.lengths is None else int(self.lengths[-1])

    def _lengths_to(self, k: int) -> tuple[int, ...]:
        """Return the lengths of the prefixes of a code of k bits, itself included."""
        if self.lengths is not None:
            return tuple(int(length) for length in self.lengths)
        return (*(length for length in _LENGTHS if length < k), k)

    @classmethod
    def tensor_shapes(cls, n_bits: int, n_features: int) -> dict[str, tuple[int, ...]]:
        """Return the fitted float32 attributes that a file holds, and their shapes."""
        return super().tensor_shapes(n_bits, n_features) | {"scales_": (n_bits,)}

    def _decoder_of(self, n_bits: int) -> NDArray[np.float32]:
        """Return the linear form that scores the first bits: the projection at its scale."""
        scored: NDArray[np.float32] = self.scales_[n_bits - 1] * self.projection_[:, :n_bits].T
        return scored


def score_scales(Y: NDArray[np.float32], Z: NDArray[np.float32], signs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the factor of each prefix, (k,), that makes products of projected rows and signs fit those of the rows.

    For every length L, the factor c_L has the least squared error of ``c_L <z_i, b_j>_L`` as an estimate of
    ``<y_i, y_j>`` over all pairs of rows. A least-squares decoder of the signs does not rank as well at few bits,
    because bits that agree on neighborhoods repeat each other.

    Parameters
    ----------
    Y : ndarray of float32, shape (n, d)
        Centered rows.
    Z : ndarray of float32, shape (n, k)
        The same rows, projected.
    signs : ndarray of float32, shape (n, k)
        Signs of Z, 1 and -1.

    Examples
    --------
    >>> Y = np.array([[2.0], [-2.0]], np.float32)
    >>> score_scales(Y, Y, np.sign(Y))
    array([2.], dtype=float32)
    """
    n = np.float32(len(Y))
    products = np.einsum("jd,dj->j", signs.T @ Y / n, Y.T @ Z / n, dtype=np.float64)
    squares = ((Z.T @ Z / n) * (signs.T @ signs / n)).astype(np.float64)
    totals = np.diagonal(squares.cumsum(axis=0).cumsum(axis=1))
    scales = np.divide(products.cumsum(), totals, out=np.zeros(len(totals)), where=totals > 0)
    rounded: NDArray[np.float32] = scales.astype(np.float32)
    return rounded
