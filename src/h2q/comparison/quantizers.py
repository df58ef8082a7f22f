"""Quantizers side by side on the same embeddings: what a rotation gains over plain signs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.evaluation import float_neighbors, neighbor_recall
from h2q.index import BinaryIndex
from h2q.progress import progress_bar
from h2q.quantization import quantizer_info, quantizer_names

__all__ = ["METHODS", "Method", "QuantizerScore", "compare_quantizers"]


@dataclass(frozen=True)
class Method:
    """A way to quantize: what people call it, and how a quantizer of so many bits is made from a seed."""

    label: str
    make: Callable[..., Any]


METHODS = {name: Method(quantizer_info(name).label, quantizer_info(name).kind) for name in quantizer_names()}


@dataclass(frozen=True)
class QuantizerScore:
    """How one quantizer did.

    Attributes
    ----------
    method : str
        Its key in `METHODS`.
    n_bits : int
        Bits of a code.
    quantization_error : float
        L2 quantization error of the queries, which it was not fitted on.
    recall : float
        Share of each query's k nearest embeddings among the k items that the search over codes finds, 0 to 1.
    fit_seconds : float
        What the fit took.
    """

    method: str
    n_bits: int
    quantization_error: float
    recall: float
    fit_seconds: float


def compare_quantizers(
    embeddings: NDArray[np.float32],
    queries: NDArray[np.float32],
    lengths: Sequence[int],
    *,
    k: int = 10,
    metric: str = "cosine",
    n_init: int = 5,
    random_state: int = 0,
    **options: Any,
) -> list[QuantizerScore]:
    """Fit every method at every code length; score by quantization error and recall of the float neighbors.

    Parameters
    ----------
    embeddings : ndarray of float32, shape (n, d)
        What is fitted on, indexed and searched.
    queries : ndarray of float32, shape (n_queries, d)
        What is asked; never fitted on.
    lengths : sequence of int
        Bits of the codes, each at most d.
    k : int
        Neighbors that count.
    metric : {"cosine", "euclidean"}
        What makes float embeddings neighbors.
    n_init : int
        Starts of ITQ, each run to convergence.
    random_state : int
        Of every quantizer.
    **options
        Further parameters of every quantizer, such as `center` and `whitening`.

    Returns
    -------
    list of QuantizerScore
        By code length, then in the order of `METHODS`.

    Raises
    ------
    TypeError, ValueError
        Where the embeddings or a parameter are not what they should be.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data.astype(np.float32)
    >>> scores = compare_quantizers(X[100:], X[:100], [16])
    >>> [score.method for score in scores]
    ['sign', 'random', 'itq', 'h2q']
    >>> scores[3].quantization_error < scores[0].quantization_error
    True
    """
    truth = float_neighbors(queries, embeddings, k, metric)
    scores = []
    with progress_bar("comparing", len(lengths) * len(METHODS)) as advance:
        for n_bits in lengths:
            for key, method in METHODS.items():
                extra = {"n_init": n_init} if key == "itq" else {}
                quantizer = method.make(n_bits, random_state=random_state, **options, **extra)
                began = time.perf_counter()
                quantizer.fit(embeddings)
                seconds = time.perf_counter() - began
                index = BinaryIndex(quantizer=quantizer)
                index.add(embeddings)
                recall = neighbor_recall(truth, index.search(queries, k).ids).value
                error = quantizer.quantization_error(queries)
                scores.append(QuantizerScore(key, n_bits, error, recall, seconds))
                advance(1)
    return scores
