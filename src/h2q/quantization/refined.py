"""Refined signs: codes and their linear decoder, fitted to each other, and one byte of scalars an item."""

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from h2q.checks import AllowZeroRows, check_integer
from h2q.errors import describe
from h2q.progress import progress_bar
from h2q.quantization.base import BaseQuantizer
from h2q.quantization.decoders import fit_decoder, start_decoder
from h2q.quantization.drift import reference_rows
from h2q.quantization.flips import Decoder, refine_codes, score_scalars
from h2q.quantization.registry import register
from h2q.quantization.sampling import sample_rows
from h2q.quantization.scalars import fit_smoother, quantize_scalars, scalar_levels, scalar_ranges
from h2q.quantization.scoring import AsymmetricQueries, EncodedItems
from h2q.quantization.threads import in_order

__all__ = ["RefinedQuantizer"]

_FIT_KICKS, _KICKS = 10, 40
_ROUNDS = 3


@register("refined", label="refined H²Q", position=40)
class RefinedQuantizer(BaseQuantizer):
    """Codes with the best recall an item's bytes can buy here: refined signs, a least-squares decoder and two scalars.

    The codes start as the signs of H²Q's rotation of the leading principal components. Then a linear decoder is fitted
    to the codes by least squares, and the codes to the decoder by flipping single bits, in turns. One byte an item
    holds the scale and the offset (4 bits each) that make asymmetric scores unbiased. Embeddings are scaled to unit
    norm first: scores estimate the cosine.

    Score with float queries (`asymmetric_queries`); that is what the bits are fitted for. For the Hamming distance use
    `encode_queries`, not `encode`, on the queries.

    Parameters
    ----------
    n_bytes : int, optional
        Bytes an item takes: the code of 8 n_bytes - 8 bits, and one byte of scalars. At least 2. None: as many as the
        dimensions allow, d // 8 + 1.
    max_samples : int
        Maximum number of rows to fit on; more are sampled uniformly.
    random_state : int, RandomState, Generator, optional
        Seed. The same seed gives the same bytes on the same machine, library versions and number of BLAS threads. Given
        the fitted quantizer, the code of an item depends on that item alone.

    Attributes
    ----------
    mean_ : ndarray of float32, shape (d,)
        Mean of the unit-norm rows.
    spread_ : ndarray of float32, shape (2,)
        Mean squared distance of the unit-norm rows to the mean; 0, the spread of their norms.
    reconstruction_ : ndarray of float32, shape (n_bits_, d)
        Linear decoder V: the code b stands for ``mean_ + b @ V``.
    radius_ : ndarray of float32, shape (1,)
        Mean distance of the unit-norm rows to the mean.
    smoother_ : ndarray of float32, shape (d, d)
        Matrix A; the queries that look for x lie around ``mean_ + (x - mean_) @ A``.
    ranges_ : ndarray of float32, shape (2, 2)
        Smallest and largest logarithm of the scale; smallest and largest offset.
    n_bits_ : int
        Bits of a code, 8 n_bytes - 8.
    n_features_in_ : int
        Number d of dimensions of an embedding.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:, 1:]
    >>> quantizer = RefinedQuantizer(n_bytes=5, random_state=0).fit(X)
    >>> items = quantizer.encode_items(X)
    >>> items.codes.shape, items.scalars.shape
    ((1797, 4), (1797,))
    """

    center = True
    linear = False
    n_bits_: int
    radius_: NDArray[np.float32]
    smoother_: NDArray[np.float32]
    ranges_: NDArray[np.float32]
    _encoding_parameters = ()

    def __init__(self, n_bytes: int | None = 48, *, max_samples: int = 100_000, random_state: Any = None) -> None:
        self.n_bytes = n_bytes
        self.max_samples = max_samples
        self.random_state = random_state

    @property
    def projection_(self) -> NDArray[np.float32]:  # type: ignore[override]
        """The decoder, transposed: shape (d, n_bits_)."""
        return self.reconstruction_.T

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn decoder, codes and scalars from embeddings.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            As in `HouseholderQuantizer.fit`; d is at least 8 n_bytes - 8.
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
        rows = sample_rows(X, self.max_samples, generator)
        n, d = rows.shape
        k = self._check_bits(n, d)
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        mean: NDArray[np.float32] = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        centered = rows - mean
        norms = np.linalg.norm(centered, axis=1)
        if not norms.max() > 1e-6:
            raise ValueError("all rows of X have the same direction: there is nothing to learn; pass different items")
        radius = float(norms.mean(dtype=np.float64))
        with progress_bar("refining codes", _ROUNDS + 3, enabled=n * k > 2**21) as advance:
            targets = centered * (radius / np.maximum(norms, 1e-12))[:, None]
            decoder = Decoder.from_rows(start_decoder(targets, k, generator))
            bits = targets @ decoder.rows.T > 0
            advance(1)
            weights = np.square(norms / radius)
            for _ in range(_ROUNDS):
                decoder = Decoder.from_rows(fit_decoder(bits, targets, weights))
                bits = self._refine(centered, decoder, radius, _FIT_KICKS)
                advance(1)
            decoder = Decoder.from_rows(fit_decoder(bits, targets, weights))
            smoother = fit_smoother(centered, generator)
            advance(1)
            scales, offsets = score_scalars(centered, bits, decoder, mean, smoother)
            advance(1)
        self._set_features(X, d)
        self.n_bits_, self.mean_, self.radius_, self.smoother_ = k, mean, np.array([radius], np.float32), smoother
        self.reconstruction_ = decoder.rows
        self.spread_ = np.array([np.square(norms, dtype=np.float64).mean(), 0], np.float32)
        self.ranges_ = scalar_ranges(scales, offsets)
        self.__dict__.pop("_decoder", None)
        self._set_statistics(reference_rows(rows), n)
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.n_bytes is not None:
            check_integer(self.n_bytes, "n_bytes", low=2)

    def _check_bits(self, n: int, d: int) -> int:
        """Return the number of bits for n rows of d features."""
        n_bytes = d // 8 + 1 if self.n_bytes is None else int(self.n_bytes)
        k = 8 * n_bytes - 8
        if k > d or k == 0:
            raise ValueError(
                f"n_bytes must be from 2 to {d // 8 + 1} for embeddings of {d} features; got {n_bytes}: one byte holds "
                f"scalars, and the bits of the others, {k}, are at most the features"
            )
        if n < 2 * k:
            warnings.warn(
                f"X has {n} rows for {k} bits: the decoder fits these rows and may not suit others; pass more rows or "
                "fewer bytes",
                UserWarning,
                stacklevel=3,
            )
        return k

    def _refine(self, centered: NDArray[np.float32], decoder: Decoder, radius: float, kicks: int) -> NDArray[np.bool_]:
        """Return the refined codes of rows, computed by several threads."""
        size = self._rows_of_work(centered.shape[1])
        parts = (centered[start : start + size] for start in range(0, len(centered), size))

        def refine(part: NDArray[np.float32]) -> NDArray[np.bool_]:
            return refine_codes(part, decoder, radius, kicks)[0]

        return np.concatenate(list(in_order(_bind(refine, part) for part in parts)))

    def encode(self, X: Any) -> NDArray[np.uint8]:
        """Return packed codes, bits refined; see `encode_items` for the scalars beside them.

        Works in chunks: apart from the codes, memory does not grow with `X`. The code of an item depends on the item
        alone, whatever batch it comes in.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        ndarray of uint8, shape (n, n_bytes - 1)
            Codes, most significant bit first.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` is not an array of embeddings of the width that was fitted, or holds a row of zeros.
        """
        return self.encode_items(X).codes

    def encode_items(self, X: Any) -> EncodedItems:
        """Return codes and one byte of scalars an item.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        EncodedItems
            Codes of shape (n, n_bytes - 1), scalars of shape (n,).

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As in `encode`.
        """
        check_is_fitted(self, "reconstruction_")
        decoder, radius = self._layout(), float(self.radius_[0])

        def items(centered: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.uint8]:
            bits, _ = refine_codes(centered, decoder, radius, _KICKS)
            scales, offsets = score_scalars(centered, bits, decoder, self.mean_, self.smoother_)
            scalars = quantize_scalars(scales, offsets, self.ranges_)
            return np.concatenate([np.packbits(bits, axis=1), scalars[:, None]], axis=1)

        encoded = np.concatenate(list(self._map_rows(X, items, project=False)))
        codes, scalars = np.ascontiguousarray(encoded[:, :-1]), np.ascontiguousarray(encoded[:, -1])
        return EncodedItems(codes, scalars, self.fingerprint())

    def encode_queries(self, Q: Any) -> NDArray[np.uint8]:
        """Return the codes of queries for the Hamming distance: plain signs, which rank better than refined ones.

        Parameters
        ----------
        Q : array-like of shape (n_queries, d), or iterable of such batches
            Embeddings of queries.

        Returns
        -------
        ndarray of uint8, shape (n_queries, n_bytes - 1)
            Codes.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As in `encode`.
        """
        return super().encode(Q)

    def scalar_tables(self, metric: str = "cosine") -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the scale and the offset that each value of an item's scalar byte stands for.

        Parameters
        ----------
        metric : {"cosine", "euclidean", "inner_product"}
            Distance of the queries; see `asymmetric_queries`.

        Returns
        -------
        (scales, offsets) : ndarrays of float32, shape (256,)
            The upper 4 bits choose the scale, the lower 4 the offset.
        """
        check_is_fitted(self, "reconstruction_")
        scales, offsets = scalar_levels(self.ranges_)
        return scales, np.float32(2) * offsets if metric == "euclidean" else offsets

    def asymmetric_queries(self, Q: Any, metric: str = "cosine", *, n_bits: int | None = None) -> AsymmetricQueries:
        """Prepare float queries for scoring codes.

        The estimated distance of query q and item x with code b, b_j = 1 or -1, is
        ``constants[q] - (scale[x] * (weights[q] @ b) + offset[x])``, with scale and offset from
        ``scalar_tables(metric)``.

        Parameters
        ----------
        Q : array-like of shape (n_queries, d)
            Float queries.
        metric : {"cosine", "euclidean", "inner_product"}
            Distance to estimate: 1 - cosine, or the squared Euclidean distance or the negative inner product of query
            and item, both scaled to unit norm.
        n_bits : int, optional
            Only all bits: the scalars belong to the whole code.

        Returns
        -------
        AsymmetricQueries
            Weights of shape (n_queries, n_bits_), constants of shape (n_queries,).

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As in `encode`; or there is no such metric, or n_bits are fewer than the bits of a code.
        """
        check_is_fitted(self, "reconstruction_")
        if n_bits is not None and n_bits != self.n_bits_:
            raise ValueError(
                f"n_bits must be {self.n_bits_}, all bits; got {describe(n_bits)}: the scalars of refined codes belong "
                'to the whole code; score prefixes by scoring="hamming", or fit a NestedQuantizer'
            )
        queries = self._check_queries(Q, metric, allow_zero_rows=False)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        weights: NDArray[np.float32] = np.matmul(queries, self.reconstruction_.T)
        constants: NDArray[np.float32] = np.float32(metric != "inner_product") - np.matmul(queries, self.mean_)
        if metric == "euclidean":
            weights, constants = np.float32(2) * weights, np.float32(2) * constants
        return AsymmetricQueries(weights, constants)

    def quantization_error(self, X: Any) -> float:
        """Return the mean of 2 - 2 cos(c, R): the direction c of an item from the mean against that of its code, R.

        For a rotation this is the L2 quantization error, mean (z - sgn z)^2.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        float
            From 0 (lossless) on.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As in `encode`.
        """
        check_is_fitted(self, "reconstruction_")
        decoder, radius = self._layout(), float(self.radius_[0])

        def errors(centered: NDArray[np.float32], z: NDArray[np.float32]) -> NDArray[np.float32]:
            bits, _ = refine_codes(centered, decoder, radius, _KICKS)
            decoded = np.where(bits, np.float32(1), np.float32(-1)) @ decoder.rows
            sizes = np.linalg.norm(centered, axis=1) * np.linalg.norm(decoded, axis=1)
            cosines: NDArray[np.float32] = np.einsum("ij,ij->i", centered, decoded) / np.maximum(sizes, 1e-12)
            return 2 - 2 * cosines

        return float(np.concatenate(list(self._map_rows(X, errors, project=False))).mean(dtype=np.float64))

    @classmethod
    def tensor_shapes(cls, n_bits: int, n_features: int) -> dict[str, tuple[int, ...]]:
        """Return the fitted float32 attributes that a file holds, and their shapes."""
        return {
            "mean_": (n_features,),
            "spread_": (2,),
            "reconstruction_": (n_bits, n_features),
            "radius_": (1,),
            "smoother_": (n_features, n_features),
            "ranges_": (2, 2),
        }

    @property
    def _allow_zero_rows(self) -> AllowZeroRows:
        return False

    def _centered(self, rows: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale rows to unit norm and subtract the mean; each row by itself, so that batches do not matter."""
        np.divide(rows, np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None], out=out)
        return np.subtract(out, self.mean_, out=out)

    @staticmethod
    def _rows_of_work(d: int) -> int:
        return max(16, 2**18 // d)

    def _chunk_rows(self) -> int:
        # Refining a row takes long: small chunks keep all threads busy.
        return min(super()._chunk_rows(), self._rows_of_work(self.n_features_in_))

    def _layout(self) -> Decoder:
        """Return the decoder as the compiled code wants it, prepared once."""
        if "_decoder" not in self.__dict__:
            self._decoder = Decoder.from_rows(self.reconstruction_)
        return self._decoder

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what can be prepared again."""
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_decoder"}


def _bind(function: Any, part: NDArray[np.float32]) -> Any:
    return lambda: function(part)
