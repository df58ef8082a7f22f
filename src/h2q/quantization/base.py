"""What all quantizers share: centering, reduction, whitening, and from a rotation to codes and back."""

import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from h2q.checks import AllowZeroRows, as_codes, as_embeddings, check_integer, check_n_bits
from h2q.errors import describe
from h2q.quantization.codes import unpack_bits
from h2q.quantization.reduction import principal_components
from h2q.quantization.sampling import is_batches, iterate_batches, sample_rows
from h2q.quantization.threads import in_order

__all__ = ["BaseQuantizer", "as_generator"]

_CHUNK_BYTES = 2 << 20


def as_generator(random_state: Any) -> np.random.Generator:
    """Turn scikit-learn's `random_state` (None, int, RandomState) or a Generator into a Generator."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**31 - 1))
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    return np.random.default_rng(check_integer(random_state, "random_state", low=0))


class BaseQuantizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Embeddings to codes: ``sgn((x - mean_) projection_)``; a subclass finds the rotation."""

    n_bits: int | None
    center: bool
    whitening: float
    max_samples: int
    random_state: Any

    mean_: NDArray[np.float32]
    rotation_: NDArray[np.float32]
    projection_: NDArray[np.float32]
    reconstruction_: NDArray[np.float32]
    n_bits_: int
    n_features_in_: int

    @abstractmethod
    def _find_rotation(self, Z: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        """Return the (k, k) rotation for rows of norm sqrt(k); set whatever else was learned."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn mean, components and rotation from embeddings.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Array, memory map, list, torch tensor, or an iterable of batches. Of more than `max_samples` rows a uniform
            sample is used, and of an array only these rows are read.
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Where the embeddings or a parameter are not what they should be; the message says what and how to go on.
        """
        self._check_parameters()
        generator = as_generator(self.random_state)
        rows = sample_rows(X, self.max_samples, generator, allow_zero_rows=self._allow_zero_rows)
        n, d = rows.shape
        k = self._check_width(n, d)
        if _may_belong_to(rows, X):
            rows = np.array(rows)
        if self.center:
            mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
            rows -= mean
        else:
            mean = np.zeros(d, np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        reduction = expansion = None
        if k < d or self.whitening > 0:
            reduction, expansion = self._reduce(rows, k)
            rows = rows @ reduction
        elif self.center:
            _warn_if_constant(rows)
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        # A row that is the mean has no direction; what is left of it after rounding has a random one.
        directed = norms > 1e-6 * float(np.abs(mean).max(initial=0.0)) * np.sqrt(d)
        if not directed.all():
            rows, norms = rows[directed], norms[directed]
        if len(rows) == 0:
            warnings.warn(
                "all rows of X are the same: there is nothing to learn, and items like them get an arbitrary code",
                UserWarning,
                stacklevel=2,
            )
            rows, norms = np.ones((1, k), np.float32), np.zeros(1, np.float32)
        else:
            rows *= (np.sqrt(k) / norms)[:, None]
        rotation = self._find_rotation(rows, generator)
        scales = _mean_absolute(rows, rotation, norms / np.sqrt(k))
        # Only now, so that an interrupted fit leaves the quantizer as it was.
        if is_batches(X):
            self.__dict__.pop("feature_names_in_", None)
        else:
            validate_data(self, X, skip_check_array=True)
        self.n_features_in_, self.n_bits_ = d, k
        self.mean_, self.rotation_ = mean, rotation
        self.projection_ = rotation if reduction is None else reduction @ rotation
        back: NDArray[np.float32] = scales[:, None] * rotation.T
        self.reconstruction_ = back if expansion is None else back @ expansion
        return self

    def _check_parameters(self) -> None:
        if self.n_bits is not None:
            check_n_bits(self.n_bits)
        if not isinstance(self.center, (bool, np.bool_)):
            raise TypeError(f"center must be True or False; got {describe(self.center)}")
        if isinstance(self.whitening, bool) or not isinstance(self.whitening, (int, float, np.floating, np.integer)):
            raise TypeError(f"whitening must be a number from 0 to 1; got {describe(self.whitening)}")
        if not 0 <= self.whitening <= 1:
            raise ValueError(f"whitening must be from 0 (none) to 1 (unit variance); got {self.whitening}")
        check_integer(self.max_samples, "max_samples", low=1)

    def _check_width(self, n: int, d: int) -> int:
        """Return the number of bits for n rows of d features, or say why it cannot be."""
        k = d if self.n_bits is None else int(self.n_bits)
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

    def _reduce(self, rows: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the (d, k) matrix to (whitened) principal components, and the (k, d) matrix back."""
        found = principal_components(rows, k)
        if found.rank < min(k, len(rows)):
            warnings.warn(
                f"X varies in {found.rank} directions, fewer than the {k} bits: further bits tell nothing new; "
                f"n_bits={max(found.rank, 1)} would do",
                UserWarning,
                stacklevel=3,
            )
        scales = np.ones(k)
        scales[: found.rank] = found.variances[: found.rank] ** (-self.whitening / 2)
        scale = scales.astype(np.float32)
        return np.ascontiguousarray((found.directions * scale[:, None]).T), found.directions / scale[:, None]

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the rotated embeddings: ``(X - mean_) @ projection_``, not scaled.

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        ndarray of float32, shape (n, n_bits_)
            The code is the sign of each entry.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            Where `X` is not what it should be.
        """
        check_is_fitted(self)
        return np.concatenate(list(self._map_rotated(X, np.copy)))

    def encode(self, X: Any) -> NDArray[np.uint8]:
        """Return packed codes, bit 1 where the rotated embedding is positive.

        Works in chunks: beside the codes, memory does not grow with `X`.

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
            Where `X` is not what it should be.
        """
        check_is_fitted(self)
        return np.concatenate(list(self._map_rotated(X, lambda z: np.packbits(z > 0, axis=1))))

    def decode(self, codes: Any) -> NDArray[np.float32]:
        """Return approximate embeddings for codes, in the space of the embeddings that were fitted.

        Each sign is scaled by the mean size of its rotated coordinate in the sample, the least-squares choice, then
        rotated back, un-whitened, taken out of the principal components, and the mean is added. Where `center` is
        False the embeddings were fitted at unit norm, and so come back.

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
            Where `codes` are no codes of `n_bits_` bits.
        """
        check_is_fitted(self)
        packed = as_codes(codes, self.n_bits_)
        embeddings = np.empty((len(packed), self.n_features_in_), np.float32)
        rows = max(1, _CHUNK_BYTES // (4 * self.n_bits_))
        for start in range(0, len(packed), rows):
            signs = np.where(unpack_bits(packed[start : start + rows], self.n_bits_), np.float32(1), np.float32(-1))
            np.matmul(signs, self.reconstruction_, out=embeddings[start : start + rows])
        embeddings += self.mean_
        return embeddings

    def quantization_error(self, X: Any) -> float:
        """Return the L2 quantization error: mean (z - sgn z)^2 of rotated rows scaled to norm sqrt(n_bits_).

        Parameters
        ----------
        X : array-like of shape (n, d), or iterable of such batches
            Embeddings.

        Returns
        -------
        float
            0 where every rotated row is proportional to its code; about 0.40 for rows in random directions.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            Where `X` is not what it should be.
        """
        check_is_fitted(self)
        errors = np.concatenate(list(self._map_rotated(X, _row_errors)))
        return float(errors.mean())

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
            If the file cannot be written; what was there before is then untouched.
        """
        from h2q.quantization.files import save_quantizer

        check_is_fitted(self)
        save_quantizer(self, path)

    @classmethod
    def tensor_shapes(cls, n_bits: int, n_features: int) -> dict[str, tuple[int, ...]]:
        """Return the fitted float32 attributes that a file holds, and their shapes."""
        return {
            "mean_": (n_features,),
            "rotation_": (n_bits, n_bits),
            "projection_": (n_features, n_bits),
            "reconstruction_": (n_bits, n_features),
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _allow_zero_rows(self) -> AllowZeroRows:
        """A row of zeros has no direction, but it has a place beside the mean."""
        return "warn" if self.center else False

    @property
    def _n_features_out(self) -> int:
        return self.n_bits_

    def _map_rotated(self, X: Any, function: Callable[[NDArray[np.float32]], NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Give function(z) for the rotated embeddings z, chunk by chunk, in order; z lies in a buffer used again."""
        buffers: SimpleQueue[tuple[NDArray[np.float32], NDArray[np.float32]]] = SimpleQueue()

        def rotate(check: Callable[[], NDArray[np.float32]]) -> NDArray[Any]:
            part = check()
            try:
                centered, z = buffers.get_nowait()
            except Empty:
                rows = self._chunk_rows()
                centered, z = (
                    np.empty((rows, self.n_features_in_), np.float32),
                    np.empty((rows, self.n_bits_), np.float32),
                )
            if self.center:
                # Not folded into a threshold: in the product a large mean would drown the rest in rounding errors.
                part = np.subtract(part, self.mean_, out=centered[: len(part)])
            result = function(np.matmul(part, self.projection_, out=z[: len(part)]))
            buffers.put((centered, z))
            return result

        return in_order(partial(rotate, check) for check in self._chunks(X))

    def _chunk_rows(self) -> int:
        return max(1, _CHUNK_BYTES // (4 * max(self.n_features_in_, self.n_bits_)))

    def _chunks(self, X: Any) -> Iterator[Callable[[], NDArray[np.float32]]]:
        """Give functions that check the next chunk of `X` and return it as float32."""
        rows = self._chunk_rows()
        if is_batches(X):
            batches = iterate_batches(X, "X", n_features=self.n_features_in_, allow_zero_rows=self._allow_zero_rows)
            for batch in batches:
                for start in range(0, len(batch), rows):
                    yield partial(np.asarray, batch[start : start + rows])
            return
        if len(getattr(X, "shape", ())) != 2 or X.shape[0] <= rows:
            given, X = X, as_embeddings(X, allow_zero_rows=self._allow_zero_rows)
            validate_data(self, given, skip_check_array=True, reset=False)
            for start in range(0, len(X), rows):
                yield partial(np.asarray, X[start : start + rows])
            return
        validate_data(self, X, skip_check_array=True, reset=False)
        for start in range(0, X.shape[0], rows):
            stop = min(start + rows, X.shape[0])
            name = f"X[{start}:{stop}]"
            yield partial(as_embeddings, X[start:stop], name, allow_zero_rows=self._allow_zero_rows)


def _row_errors(z: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean (z - sgn z)^2 of each row once it is scaled to norm sqrt(k)."""
    norms = np.sqrt(np.einsum("ij,ij->i", z, z))
    directed = norms > 0
    cosines = np.divide(np.abs(z).sum(axis=1), norms, out=np.zeros_like(norms), where=directed) / np.sqrt(z.shape[1])
    # A row that is the mean stays zero, at distance 1 from any sign.
    errors: NDArray[np.float64] = directed + 1.0 - 2.0 * cosines
    return errors


def _may_belong_to(rows: NDArray[np.float32], X: Any) -> bool:
    """Tell whether writing to the rows could write to what the user passed."""
    if not rows.flags.writeable or hasattr(X, "detach"):
        return True
    return bool(hasattr(X, "__array__") and np.may_share_memory(rows, np.asarray(X)))


def _warn_if_constant(rows: NDArray[np.float32]) -> None:
    """Warn of columns that are constant: zero after centering."""
    constant = int((~rows.any(axis=0)).sum())
    if 0 < constant < rows.shape[1]:
        warnings.warn(
            f"X has {constant} constant column(s): rotated with the others, they tell nothing new; "
            f"n_bits={rows.shape[1] - constant} would leave them out",
            UserWarning,
            stacklevel=3,
        )


def _mean_absolute(
    rows: NDArray[np.float32], rotation: NDArray[np.float32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the mean size of each rotated coordinate, rows weighted."""
    total, size = np.zeros(len(rotation)), max(1, _CHUNK_BYTES // (4 * len(rotation)))
    for start in range(0, len(rows), size):
        total += weights[start : start + size] @ np.abs(rows[start : start + size] @ rotation)
    return (total / len(rows)).astype(np.float32)
