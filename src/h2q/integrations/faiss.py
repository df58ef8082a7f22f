"""The rotation of a quantizer in front of any FAISS index."""

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from h2q.errors import require
from h2q.quantization.base import BaseQuantizer

__all__ = ["linear_transform", "with_rotation"]


def linear_transform(quantizer: BaseQuantizer) -> Any:
    """Return the map of a quantizer, ``(x - mean_) @ projection_``, as a FAISS transform.

    FAISS saves it with the index that it stands in front of, and reads it back without h2q.

    Parameters
    ----------
    quantizer : BaseQuantizer
        A fitted quantizer. Without reduction and whitening its map keeps Euclidean distances, so that an exact index
        behind it returns the same neighbors.

    Returns
    -------
    faiss.LinearTransform
        From the d dimensions of embeddings to the `n_bits_` dimensions of rotated embeddings.

    Raises
    ------
    MissingDependencyError
        If FAISS is not installed.
    sklearn.exceptions.NotFittedError
        If the quantizer is not fitted.

    Examples
    --------
    >>> import faiss, h2q
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data.astype(np.float32)
    >>> quantizer = h2q.HouseholderQuantizer(32, random_state=0).fit(X)
    >>> rotated = linear_transform(quantizer).apply(X)
    >>> bool((h2q.pack_bits(rotated) == quantizer.encode(X)).all())
    True
    """
    faiss = require("faiss", "faiss")
    check_is_fitted(quantizer)
    matrix = quantizer.projection_.astype(np.float64)
    transform = faiss.LinearTransform(quantizer.n_features_in_, quantizer.n_bits_, quantizer.center)
    faiss.copy_array_to_vector(matrix.T.astype(np.float32).ravel(), transform.A)
    if quantizer.center:
        faiss.copy_array_to_vector((-(quantizer.mean_ @ matrix)).astype(np.float32), transform.b)
    transform.is_trained = True
    transform.set_is_orthonormal()
    return transform


def with_rotation(quantizer: BaseQuantizer, index: Any) -> Any:
    """Return a FAISS index that rotates embeddings before it gives them to `index`.

    Scalar quantizers, product quantizers and plain signs (``"RaBitQ"``, ``"LSH"``, ``"SQ4"``) all profit from a
    rotation that was learned.

    Parameters
    ----------
    quantizer : BaseQuantizer
        A fitted quantizer.
    index : faiss.Index or str
        An index of `n_bits_` dimensions, or the string that `faiss.index_factory` makes one of.

    Returns
    -------
    faiss.IndexPreTransform
        Takes embeddings of d dimensions; ``train``, ``add`` and ``search`` as usual.

    Raises
    ------
    MissingDependencyError
        If FAISS is not installed.
    ValueError
        If the index is not of `n_bits_` dimensions.

    Examples
    --------
    >>> import h2q
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data.astype(np.float32)
    >>> index = with_rotation(h2q.HouseholderQuantizer(48, random_state=0).fit(X), "Flat")
    >>> index.add(X)
    >>> index.search(X[:3], 1)[1].ravel()
    array([0, 1, 2])
    """
    faiss = require("faiss", "faiss")
    transform = linear_transform(quantizer)
    if isinstance(index, str):
        index = faiss.index_factory(quantizer.n_bits_, index)
    if index.d != quantizer.n_bits_:
        raise ValueError(
            f"index must have {quantizer.n_bits_} dimensions, those of rotated embeddings; got an index of {index.d}"
        )
    wrapped = faiss.IndexPreTransform(transform, index)
    # FAISS keeps pointers: without these references Python would free the two.
    wrapped.referenced_objects = [transform, index]
    return wrapped
