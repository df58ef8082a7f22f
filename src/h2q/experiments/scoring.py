"""What a quantizer is worth on the embeddings of a network."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.evaluation import embeddings_mean_average_precision, mean_average_precision
from h2q.quantization import HouseholderQuantizer, ITQQuantizer, RandomRotationQuantizer, SignQuantizer
from h2q.quantization.objectives import OBJECTIVES, l1, l2

__all__ = ["Embedded", "make_quantizer", "score_codes", "score_embeddings"]


@dataclass(frozen=True)
class Embedded:
    """The embeddings of the folds, and labels; quantizers are fitted on `train` alone."""

    train: NDArray[np.float32]
    query: NDArray[np.float32]
    database: NDArray[np.float32]
    query_labels: NDArray[Any]
    database_labels: NDArray[Any]


def make_quantizer(name: str, seed: int, options: Mapping[str, Any]) -> Any:
    """Return the quantizer that a plan calls `name`, unfitted.

    Codes of networks that were trained with a penalty are plain signs: the penalty did the quantizer's work.

    Examples
    --------
    >>> make_quantizer("h2q-l1", 3, {"center": False, "schedule": "annealed"})
    HouseholderQuantizer(center=False, objective='l1', random_state=3)
    """
    center = options["center"]
    if name in ("sign", "penalty", "hswd"):
        return SignQuantizer(center=center, random_state=seed)
    if name == "random":
        return RandomRotationQuantizer(center=center, random_state=seed)
    if name == "itq":
        return ITQQuantizer(center=center, random_state=seed, n_init=options["n_init"])
    objective = name.removeprefix("h2q-")
    if objective == name or objective not in OBJECTIVES:
        raise ValueError(f"there is no quantizer {name!r}")
    return HouseholderQuantizer(center=center, random_state=seed, objective=objective, schedule=options["schedule"])


def score_embeddings(embedded: Embedded, options: Mapping[str, Any]) -> dict[str, Any]:
    """Score the real-valued embeddings: what codes can at best give back."""
    began = time.perf_counter()
    found = embeddings_mean_average_precision(
        embedded.query, embedded.database, embedded.query_labels, embedded.database_labels, **_scoring(options)
    )
    return {"scores": {"map_real": found.value}, "seconds": {"score": time.perf_counter() - began}}


def score_codes(embedded: Embedded, quantizer: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Fit a quantizer on the training fold, encode queries and database, and score the codes.

    Returns
    -------
    dict
        "scores": mAP of both tie policies, with the 95 % bootstrap interval over queries of "embeddings", the L1 and L2
        quantization errors of the database and its distinct codes; "seconds": of fit, encode and score.
    """
    began = time.perf_counter()
    quantizer.fit(embedded.train)
    fitted = time.perf_counter()
    query_codes, database_codes = quantizer.encode(embedded.query), quantizer.encode(embedded.database)
    encoded = time.perf_counter()
    found = {}
    for ties in ("embeddings", "expected"):
        by_float = ties == "embeddings"
        found[ties] = mean_average_precision(
            query_codes, database_codes, embedded.query_labels, embedded.database_labels,
            n_bits=quantizer.n_bits_, ties=ties,
            query_embeddings=embedded.query if by_float else None,
            database_embeddings=embedded.database if by_float else None,
            **_scoring(options),
        )  # fmt: skip
    rotated = quantizer.transform(embedded.database)
    rotated *= np.sqrt(rotated.shape[1]) / np.linalg.norm(rotated, axis=1, keepdims=True)
    scores = {
        "map_embeddings": found["embeddings"].value,
        "map_embeddings_interval": list(found["embeddings"].confidence_interval()),
        "map_expected": found["expected"].value,
        "quantization_error_l1": l1(rotated)[0],
        "quantization_error_l2": l2(rotated)[0],
        "distinct_codes": len(np.unique(database_codes, axis=0)),
    }
    done = time.perf_counter()
    return {"scores": scores, "seconds": {"fit": fitted - began, "encode": encoded - fitted, "score": done - encoded}}


def _scoring(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("k", "divisor", "empty")}
