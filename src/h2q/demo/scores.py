"""Stage two on given embeddings: quantize, index, search, score."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.comparison import METHODS
from h2q.retrieval import (
    BinaryIndex,
    embeddings_mean_average_precision,
    float_neighbors,
    mean_average_precision,
    neighbor_recall,
)

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
    Contender(method.label, method.make, (("n_restarts", 5),) if key == "itq" else ())
    for key, method in METHODS.items()
)


@dataclass(frozen=True)
class Embedded:
    """Embeddings and labels of the folds: quantizers are fitted on `train` alone, and never see `query`."""

    train: NDArray[np.float32]
    query: NDArray[np.float32]
    database: NDArray[np.float32]
    query_labels: NDArray[np.int64]
    database_labels: NDArray[np.int64]
    true_neighbors: NDArray[np.int64]


def embed_folds(embeddings: NDArray[np.float32], labels: NDArray[np.int64], folds: Any) -> Embedded:
    """Cut embeddings of all images into folds, and find the true neighbours of each query."""
    train, query, database = (np.ascontiguousarray(embeddings[folds[name]]) for name in ("train", "query", "database"))
    truth = float_neighbors(query, database, K_RECALL)
    return Embedded(train, query, database, labels[folds["query"]], labels[folds["database"]], truth)


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
    map_expected, map_float : float
        Mean average precision by class, 0 to 1, ties averaged over or broken by the embeddings.
    recall : float
        Of the true neighbours, 0 to 1.
    fit_seconds : float or None
        What the fit took.
    """

    quantizer: str
    n_bits: int | None
    n_bytes: int
    quantization_error: float | None
    map_expected: float
    map_float: float
    recall: float
    fit_seconds: float | None


def score_embeddings(embedded: Embedded) -> Score:
    """Score the real-valued embeddings: what codes can at best give back."""
    found = embeddings_mean_average_precision(
        embedded.query, embedded.database, embedded.query_labels, embedded.database_labels, k=_k(embedded)
    ).value
    return Score("real-valued", None, 4 * embedded.query.shape[1], None, found, found, 1.0, None)


def score_codes(embedded: Embedded, contender: Contender, n_bits: int, seed: int) -> tuple[Score, NDArray[np.int64]]:
    """Fit a quantizer, index the database's codes, search and score; give also the ids that each query found."""
    quantizer = contender.make(n_bits, random_state=seed, **dict(contender.options))
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
            query_embeddings=embedded.query if ties == "float" else None,
            database_embeddings=embedded.database if ties == "float" else None,
        ).value
        for ties in ("expected", "float")
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
