"""A quantizer for an index that grows: fitted on its first rows, however few they are."""

import warnings

import numpy as np
from numpy.typing import NDArray

from h2q.quantization.householder_quantizer import HouseholderQuantizer

__all__ = ["fit_first_rows"]

_WHITENED = 8  # rows for each bit, from which features are whitened


def fit_first_rows(embeddings: NDArray[np.float32], max_bits: int, *, whitened: bool = False) -> HouseholderQuantizer:
    """Fit a quantizer on the first embeddings of an index that keeps embeddings, which decide the order.

    Parameters
    ----------
    embeddings : ndarray of float32, shape (n, d)
        The first rows, from one.
    max_bits : int
        Largest number of bits; fewer where there are fewer rows or dimensions.
    whitened : bool
        Whether the embeddings are features of a network that was trained for something else. These are whitened where
        that is safe: in a few rows the last directions are what tells two copies of one item apart, which must not
        count as much as the others.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data.astype(np.float32)
    >>> fit_first_rows(X[:20], 32).n_bits_, fit_first_rows(X, 32).n_bits_
    (16, 32)
    """
    n_bits = min(max_bits, embeddings.shape[1], 8 * max(1, (len(embeddings) - 1) // 8))
    whitening = 1.0 if whitened and len(embeddings) >= _WHITENED * n_bits else 0.0
    with warnings.catch_warnings():
        # A few rows do not decide a rotation.
        warnings.simplefilter("ignore", UserWarning)
        return HouseholderQuantizer(n_bits, whitening=whitening, random_state=0).fit(embeddings)
