"""The interface of all quantizers: from embeddings to codes, from codes to scores, and back."""

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Self

import numpy as np
import xxhash
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from h2q.checks import AllowZeroRows, as_codes, as_embeddings, check_integer
from h2q.errors import describe
from h2q.quantization.codes import unpack_bits
from h2q.quantization.drift import RowStatistics, describe_rows
from h2q.quantization.objectives import row_errors
from h2q.quantization.sampling import as_generator, is_batches, iterate_batches
from h2q.quantization.scoring import METRICS, AsymmetricQueries, EncodedItems, linear_queries
from h2q.quantization.threads import in_order

__all__ = ["BaseQuantizer", "chunk_rows"]

_CHUNK_BYTES = 2 << 20

RowFunction = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[Any]]


def chunk_rows(width: int) -> int:
    """Return how many float32 rows of this width make one chunk of work."""
    return max(1, _CHUNK_BYTES // (4 * width))


class BaseQuantizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """From embeddings to codes: ``sgn((x - mean_) projection_)``, decoded as ``mean_ + b reconstruction_``."""

    center: bool
    max_samples: int
    random_state: Any

    mean_: NDArray[np.float32]
    projection_: NDArray[np.float32]
    reconstruction_: NDArray[np.float32]
    spread_: NDArray[np.float32]
    n_bits_: int
    n_features_in_: int
    statistics_: RowStatistics

    # Whether the code is sgn((x - mean_) projection_), which a network can hold as one layer.
    linear: ClassVar[bool] = True
    # Parameters that change codes or scores after `fit`, beside the fitted tensors.
    _encoding_parameters: ClassVar[tuple[str, ...]] = ("center",)

    @abstractmethod
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from embeddings; see the classes."""

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the projected embeddings: ``(X - mean_) @ projection_``, not scaled.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        ndarray of float32, shape (n, n_bits_)
            The sign of each entry is its bit of the code.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` is not an array of embeddings of the width that was fitted.
        """
        check_is_fitted(self)
        return np.concatenate(list(self._map_rows(X, lambda centered, z: z.copy())))

    def encode(self, X: Any) -> NDArray[np.uint8]:
        """Return packed codes, bit 1 where the projected embedding is positive.

        Works in chunks: apart from the codes, memory does not grow with `X`.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        ndarray of uint8, shape (n, ceil(n_bits_ / 8))
            Codes, most significant bit first, padding bits 0.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` is not an array of embeddings of the width that was fitted.
        """
        check_is_fitted(self)
        return np.concatenate(list(self._map_rows(X, lambda centered, z: np.packbits(z > 0, axis=1))))

    def encode_items(self, X: Any) -> EncodedItems:
        """Return all that an index stores of embeddings: codes, and one scalar byte an item if the quantizer has it.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        EncodedItems
            Codes as from `encode`, and scalars; see `scalar_tables`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As in `encode`.
        """
        return EncodedItems(self.encode(X), fingerprint=self.fingerprint())

    def encode_queries(self, Q: Any) -> NDArray[np.uint8]:
        """Return the codes of queries for the Hamming distance: those of `encode`, if a subclass has no better ones.

        Parameters
        ----------
        Q : array-like of shape (n_queries, d), or iterable of such batches
            Embeddings of queries.

        Returns
        -------
        ndarray of uint8, shape (n_queries, ceil(n_bits_ / 8))
            Codes.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As in `encode`.
        """
        return self.encode(Q)

    def scalar_tables(self, metric: str = "cosine") -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return the scale and the offset that each value of an item's scalar byte stands for.

        Parameters
        ----------
        metric : {"cosine", "euclidean", "inner_product"}
            Distance of the queries; see `asymmetric_queries`.

        Returns
        -------
        (scales, offsets) : ndarrays of float32, shape (256,), or None
            None if the quantizer stores no scalars: scale 1 and offset 0.
        """
        return None

    def asymmetric_queries(self, Q: Any, metric: str = "cosine", *, n_bits: int | None = None) -> AsymmetricQueries:
        """Prepare float queries for scoring codes: finer than the Hamming distance, at no memory.

        The estimated distance of query q and item x with code b, b_j = 1 or -1, is
        ``constants[q] - (scale[x] * (weights[q] @ b) + offset[x])``, with scale and offset from
        ``scalar_tables(metric)``; without scalars these are 1 and 0.

        Parameters
        ----------
        Q : array-like of shape (n_queries, d)
            Float queries.
        metric : {"cosine", "euclidean", "inner_product"}
            Distance to estimate: 1 - cosine, the squared Euclidean distance, or the negative inner product. If `center`
            is False, items count as scaled to unit norm.
        n_bits : int, optional
            Score by the first bits alone.

        Returns
        -------
        AsymmetricQueries
            Weights of shape (n_queries, n_bits), constants of shape (n_queries,).

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As in `encode`; or there is no such metric, or the codes have fewer bits.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from h2q.quantization import HouseholderQuantizer, unpack_bits
        >>> X = load_digits().data[:, 1:32]
        >>> quantizer = HouseholderQuantizer(16, random_state=0).fit(X)
        >>> signs = 2.0 * unpack_bits(quantizer.encode(X[:500]), 16) - 1
        >>> queries = quantizer.asymmetric_queries(X[:3], "euclidean")
        >>> estimates = queries.constants[:, None] - queries.weights @ signs.T
        >>> estimates.argmin(axis=1)
        array([0, 1, 2])
        """
        check_is_fitted(self)
        # A zero query has no cosine, but Euclidean distances and inner products.
        queries = self._check_queries(Q, metric, allow_zero_rows=metric != "cosine")
        n_bits = check_integer(self.n_bits_ if n_bits is None else n_bits, "n_bits", low=1, high=self.n_bits_)
        return linear_queries(queries, self.mean_, self._decoder_of(n_bits), self.spread_, metric)

    def _decoder_of(self, n_bits: int) -> NDArray[np.float32]:
        """Return the linear decoder of the first bits."""
        return self.reconstruction_[:n_bits]

    def _check_queries(self, Q: Any, metric: str, *, allow_zero_rows: bool) -> NDArray[np.float32]:
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}; got {describe(metric)}")
        return as_embeddings(Q, "Q", n_features=self.n_features_in_, allow_zero_rows=allow_zero_rows)

    def decode(self, codes: Any) -> NDArray[np.float32]:
        """Return approximate embeddings for codes, in the space of the embeddings that were fitted.

        The decoder is linear: ``mean_ + b @ reconstruction_`` for the signs b of a code. If `center` is False, the
        embeddings were fitted at unit norm, and are returned so.

        Parameters
        ----------
        codes : array-like of uint8, shape (n, ceil(n_bits_ / 8))
            Packed codes.

        Returns
        -------
        ndarray of float32, shape (n, d)
            Approximate embeddings.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `codes` are not codes of `n_bits_` bits.
        """
        check_is_fitted(self)
        packed, rows = as_codes(codes, self.n_bits_), chunk_rows(self.n_bits_)
        embeddings = np.empty((len(packed), self.n_features_in_), np.float32)
        for start in range(0, len(packed), rows):
            signs = np.where(unpack_bits(packed[start : start + rows], self.n_bits_), np.float32(1), np.float32(-1))
            np.matmul(signs, self.reconstruction_, out=embeddings[start : start + rows])
        embeddings += self.mean_
        return embeddings

    def quantization_error(self, X: Any) -> float:
        """Return the L2 quantization error: mean (z - sgn z)^2 of projected rows scaled to norm sqrt(n_bits_).

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        float
            0 if every projected row is proportional to its code; about 0.40 for rows in random directions.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` is not an array of embeddings of the width that was fitted.
        """
        check_is_fitted(self)
        return float(np.concatenate(list(self._map_rows(X, lambda centered, z: row_errors(z)))).mean())

    def fingerprint(self) -> str:
        """Return a hash of all that determines codes and scores: equal before `save` and after loading.

        Returns
        -------
        str
            32 hexadecimal digits (XXH3).

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        parameters = {name: getattr(self, name) for name in self._encoding_parameters}
        header = json.dumps([type(self).__name__, parameters], default=lambda value: value.item())
        hasher = xxhash.xxh3_128(header.encode())
        for name, shape in self.tensor_shapes(self.n_bits_, self.n_features_in_).items():
            hasher.update(f"{name}{shape}".encode() + np.ascontiguousarray(getattr(self, name)).tobytes())
        return hasher.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted quantizer to one safetensors file, atomically; `load_quantizer` reads it.

        Parameters
        ----------
        path : path
            The file.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError
            If the objective is a function of your own, which a file cannot hold.
        OSError
            If the file cannot be written; a file that was there before is then unchanged.
        """
        from h2q.quantization.files import save_quantizer

        check_is_fitted(self)
        save_quantizer(self, path)

    @classmethod
    def tensor_shapes(cls, n_bits: int, n_features: int) -> dict[str, tuple[int, ...]]:
        """Return the fitted float32 attributes that a file holds, and their shapes."""
        return {
            "mean_": (n_features,),
            "projection_": (n_features, n_bits),
            "reconstruction_": (n_bits, n_features),
            "spread_": (2,),
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _check_parameters(self) -> None:
        check_integer(self.max_samples, "max_samples", low=1)

    def _start_fit(self) -> np.random.Generator:
        """Check the parameters; return the generator of all that is drawn."""
        self._check_parameters()
        return as_generator(self.random_state)

    @property
    def _allow_zero_rows(self) -> AllowZeroRows:
        """A row of zeros has no direction, but it has a direction from the mean."""
        return "warn" if self.center else False

    @property
    def _n_features_out(self) -> int:
        return self.n_bits_

    def _set_features(self, X: Any, n_features: int) -> None:
        """Remember the number and the names of the features, as scikit-learn does."""
        if is_batches(X):
            self.__dict__.pop("feature_names_in_", None)
        else:
            validate_data(self, X, skip_check_array=True)
        self.n_features_in_ = n_features
        self.__dict__.pop("statistics_", None)  # those of an earlier fit

    def _set_statistics(self, rows: NDArray[np.float32], n_fitted: int) -> None:
        """Remember what `h2q.index.Index.drift` compares later rows with; `rows` are some of the fitted ones."""
        if len(rows):
            self.statistics_ = describe_rows(self, rows, n_fitted=n_fitted)

    def _centered(self, rows: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows minus the mean, in `out` if they change."""
        # Not folded into a threshold: in the product a large mean would drown the rest in rounding errors.
        return np.subtract(rows, self.mean_, out=out) if self.center else rows

    def _map_rows(self, X: Any, function: RowFunction, *, project: bool = True) -> Iterator[NDArray[Any]]:
        """Yield ``function(centered rows, projected rows)`` chunk by chunk, in order, computed by several threads.

        Both arguments lie in buffers that are reused: the function must not return them. Without `project`, the second
        has no meaning.
        """
        buffers: SimpleQueue[tuple[NDArray[np.float32], NDArray[np.float32]]] = SimpleQueue()
        size = self._chunk_rows()

        def work(check: Callable[[], NDArray[np.float32]]) -> NDArray[Any]:
            rows = check()
            try:
                centered, z = buffers.get_nowait()
            except Empty:
                centered = np.empty((size, self.n_features_in_), np.float32)
                z = np.empty((size, self.n_bits_), np.float32)
            rows, projected = self._centered(rows, centered[: len(rows)]), z[: len(rows)]
            if project:
                np.matmul(rows, self.projection_, out=projected)
            result = function(rows, projected)
            buffers.put((centered, z))
            return result

        return in_order(partial(work, check) for check in self._chunks(X))

    def _chunk_rows(self) -> int:
        return chunk_rows(max(self.n_features_in_, self.n_bits_))

    def _chunks(self, X: Any) -> Iterator[Callable[[], NDArray[np.float32]]]:
        """Yield functions that check the next chunk of `X` and return it as float32.

        A large array is checked chunk by chunk in the worker threads; batches and small arrays are checked here.
        """
        size, zero_rows = self._chunk_rows(), self._allow_zero_rows
        if is_batches(X):
            checked = iterate_batches(X, "X", n_features=self.n_features_in_, allow_zero_rows=zero_rows)
        else:
            # An array in memory, a memory map or a table with a shape is sliced; what has none is converted first.
            whole = len(getattr(X, "shape", ())) != 2 or X.shape[0] <= size
            checked = iter([as_embeddings(X, allow_zero_rows=zero_rows)] if whole else [])
            validate_data(self, X, skip_check_array=True, reset=False)
            if not whole:
                for start in range(0, X.shape[0], size):
                    stop = min(start + size, X.shape[0])
                    yield partial(as_embeddings, X[start:stop], f"X[{start}:{stop}]", allow_zero_rows=zero_rows)
        for batch in checked:
            for start in range(0, len(batch), size):
                yield partial(np.asarray, batch[start : start + size])
