"""Stage two on given embeddings: quantize, index, search, score."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.comparison.quantizers import METHODS
from h2q.evaluation import embeddings_mean_average_precision, float_neighbors, mean_average_precision, neighbor_recall
from h2q.index import BinaryIndex
from h2q.quantization.reduction import principal_components

__all__ = ["CONTENDERS", "K_PRECISION", "K_RECALL", "Contender", "Embedded", "Score", "score_codes", "score_embeddings"]

K_PRECISION = 5_000
K_RECALL = 10


@dataclass(frozen=True)
class Contender:
    """A quantizer of the table.

    Attributes
    ----------
    label : str
        What it is called.
    make : callable
        From bits, `random_state` and the options to a quantizer.
    options : tuple of (str, value)
        Its further parameters.
    variant : str
        Which embeddings of the stage it quantizes, where there are several; "" for the plain ones.
    """

    label: str
    make: Callable[..., Any]
    options: tuple[tuple[str, Any], ...] = ()
    variant: str = ""


CONTENDERS = tuple(
    Contender(method.label, method.make, (("n_init", 5),) if key == "itq" else ()) for key, method in METHODS.items()
)


@dataclass(frozen=True)
class Embedded:
    """Embeddings and labels of the folds.

    Attributes
    ----------
    train, query, database : ndarray of float32
        What quantizers get: they are fitted on `train` alone, and never on `query`.
    real_query, real_database : ndarray of float32
        The real-valued embeddings that codes are measured against.
    query_labels, database_labels : ndarray of int64
        Class ids.
    true_neighbors : ndarray of int64, shape (n_queries, K_RECALL)
        The nearest of `real_database` by cosine.
    """

    train: NDArray[np.float32]
    query: NDArray[np.float32]
    database: NDArray[np.float32]
    real_query: NDArray[np.float32]
    real_database: NDArray[np.float32]
    query_labels: NDArray[np.int64]
    database_labels: NDArray[np.int64]
    true_neighbors: NDArray[np.int64]


def embed_folds(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    folds: Mapping[str, NDArray[np.int64]],
    n_components: int | None = None,
) -> Embedded:
    """Cut embeddings of all images into folds, and find the true neighbors of each query.

    With `n_components` quantizers get so many principal components of the training embeddings, which the quantizers of
    shorter codes would find again and again.
    """
    train, query, database = (np.ascontiguousarray(embeddings[folds[name]]) for name in ("train", "query", "database"))
    truth = float_neighbors(query, database, K_RECALL)
    given = train, query, database
    if n_components is not None and n_components < embeddings.shape[1]:
        directions = principal_components(train, n_components).directions
        given = train @ directions.T, query @ directions.T, database @ directions.T
    return Embedded(*given, query, database, labels[folds["query"]], labels[folds["database"]], truth)


@dataclass(frozen=True)
class Score:
    """A row of the table; None where a column has no meaning for real-valued embeddings.

    Attributes
    ----------
    quantizer : str
        What made the codes.
    n_bits : int or None
        Bits of a code.
    n_bytes : int
        Bytes of an item.
    quantization_error : float or None
        L2, of the queries.
    map_expected, map_embeddings : float
        Mean average precision by class, 0 to 1, ties averaged over or broken by the embeddings.
    recall : float
        Of the true neighbors, 0 to 1.
    fit_seconds : float or None
        What the fit took.
    """

    quantizer: str
    n_bits: int | None
    n_bytes: int
    quantization_error: float | None
    map_expected: float
    map_embeddings: float
    recall: float
    fit_seconds: float | None


def score_embeddings(embedded: Embedded) -> Score:
    """Score the real-valued embeddings: what codes can at best give back."""
    found = embeddings_mean_average_precision(
        embedded.real_query, embedded.real_database, embedded.query_labels, embedded.database_labels, k=_k(embedded)
    ).value
    return Score("real-valued", None, 4 * embedded.real_query.shape[1], None, found, found, 1.0, None)


def score_codes(
    embedded: Embedded, contender: Contender, n_bits: int, random_state: int
) -> tuple[Score, NDArray[np.int64]]:
    """Fit a quantizer, index the database's codes, search and score; give also the ids that each query found."""
    quantizer = contender.make(n_bits, random_state=random_state, **dict(contender.options))
    began = time.perf_counter()
    quantizer.fit(embedded.train)
    fit_seconds = time.perf_counter() - began
    index = BinaryIndex(quantizer=quantizer)
    index.add(embedded.database)
    found = index.search(embedded.query, K_RECALL).ids
    query_codes, database_codes = quantizer.encode(embedded.query), quantizer.encode(embedded.database)
    expected, by_float = (
        mean_average_precision(
            query_codes,
            database_codes,
            embedded.query_labels,
            embedded.database_labels,
            n_bits=n_bits,
            k=_k(embedded),
            ties=ties,
            query_embeddings=embedded.real_query if ties == "embeddings" else None,
            database_embeddings=embedded.real_database if ties == "embeddings" else None,
        ).value
        for ties in ("expected", "embeddings")
    )
    score = Score(
        contender.label,
        n_bits,
        query_codes.shape[1],
        quantizer.quantization_error(embedded.query),
        expected,
        by_float,
        neighbor_recall(embedded.true_neighbors, found).value,
        fit_seconds,
    )
    return score, found


def _k(embedded: Embedded) -> int:
    return min(K_PRECISION, len(embedded.database))
