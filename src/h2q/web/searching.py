"""One search: the item, embedding or code that is looked for, and the answer."""

import datetime
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.comparison import RERANKED
from h2q.converters import to_hex
from h2q.errors import FileFormatError
from h2q.hamming.candidates import candidate_distances
from h2q.index import BinaryIndex, Neighbors
from h2q.index.ids import INTEGER
from h2q.index.metadata import describe_schema
from h2q.web.settings import Refusal, Settings

__all__ = [
    "Options",
    "find_item",
    "item_id",
    "plain",
    "query_of_item",
    "run_search",
    "scorings_of",
    "shown_columns",
]

_CANDIDATES = 100  # that are re-ranked, at least
_DIGITS = 19  # of the largest id
_TRIES = 3


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes
    ----------
    k : int
        Number of results.
    scoring : {"hamming", "asymmetric", "rerank"} or None
        None: the best that the query and the index have.
    n_bits : int or None
        Compare only the first bits; None: all.
    where : str or None
        Filter on metadata.
    """

    k: int
    scoring: str | None = None
    n_bits: int | None = None
    where: str | None = None

    def check(self, settings: Settings) -> "Options":
        """Return the options, or refuse those beyond the limits of the server."""
        if not 1 <= self.k <= settings.max_k:
            raise Refusal(400, f"k must be from 1 to {settings.max_k}; got {self.k}")
        if self.where is not None and len(self.where) > settings.max_where:
            raise Refusal(400, f"where must have at most {settings.max_where:,} characters; got {len(self.where):,}")
        return self


def scorings_of(index: BinaryIndex) -> list[str]:
    """Return the scorings that an index has, the best last."""
    by_embeddings = ["asymmetric"] if index.quantizer is not None else []
    return ["hamming", *by_embeddings, *(["rerank"] if index.keeps_embeddings else [])]


def shown_columns(index: BinaryIndex) -> dict[str, str]:
    """Return the metadata columns with their types; those of the program itself begin with an underscore."""
    return {name: kind for name, kind in describe_schema(index.metadata_schema).items() if not name.startswith("_")}


def item_id(index: BinaryIndex, given: str | int) -> str | int:
    """Return an id as the index has them: the digits of a number are the number.

    >>> index = BinaryIndex(8)
    >>> ids = index.add(np.array([[1]], np.uint8))
    >>> item_id(index, "0"), item_id(index, "cat")
    (0, 'cat')
    """
    if index.id_type != INTEGER:
        return str(given)
    if isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= _DIGITS:
        return int(given)
    return given


def find_item(index: BinaryIndex, given: str | int) -> str | int:
    """Return the id of an item as the index has it.

    Raises
    ------
    Refusal
        If there is no such item (404).
    """
    item = item_id(index, given)
    try:
        known = item in index
    except ValueError:  # half of a surrogate pair
        known = False
    if not known:
        raise Refusal(404, "there is no item with this id")
    return item


def query_of_item(index: BinaryIndex, given: str | int) -> NDArray[Any]:
    """Return the embedding of an item, where the index keeps it, or its code; one row.

    Raises
    ------
    Refusal
        If there is no such item (404).
    """
    item = item_id(index, given)
    try:
        return index.embeddings([item]) if index.keeps_embeddings else index.codes([item])
    except FileFormatError:
        raise  # the index is damaged
    except (TypeError, ValueError) as error:
        raise Refusal(404, "there is no item with this id") from error


def run_search(index: BinaryIndex, query: NDArray[Any], options: Options, embed_seconds: float = 0.0) -> dict[str, Any]:
    """Search for one query.

    Parameters
    ----------
    index : BinaryIndex
        The index.
    query : ndarray of shape (1, d) or (1, bytes)
        Embedding, or packed code (uint8).
    options : Options
        Checked ones.
    embed_seconds : float
        Time that it took to embed the query.

    Returns
    -------
    dict
        See `h2q.web.schemas.SearchAnswer`.

    Raises
    ------
    TypeError, ValueError
        If the query or an option does not fit the index.
    """
    began = time.perf_counter()
    holds_code = query.dtype == np.uint8
    scoring = options.scoring or ("hamming" if holds_code else scorings_of(index)[-1])
    if scoring not in scorings_of(index):
        raise ValueError(f"scoring must be one of {', '.join(scorings_of(index))} for this index; got {scoring}")
    if holds_code and scoring != "hamming":
        raise ValueError(
            f"{scoring} scoring needs an embedding, and the query is a code, or an item whose embedding is not kept; "
            "use hamming"
        )
    # `search` checks the query, but a code is needed for the bits in any case.
    code = query if holds_code else index.quantizer.encode_queries(query)
    for attempt in range(_TRIES):
        neighbors = _nearest(index, query, code, scoring, options)
        ids = neighbors.ids[0]
        try:
            # A filter can leave none.
            codes = index.codes(ids) if len(ids) else np.empty((0, code.shape[1]), np.uint8)
            break
        except ValueError:
            # An item was removed since; its code is gone, but so it should be from the answer.
            if attempt == _TRIES - 1 or index.contains(ids).all():
                raise
    n_bits = options.n_bits or index.n_bits
    bits = _differing_bits(code[0], codes, n_bits)
    rows = [{}] * len(codes) if neighbors.metadata is None else neighbors.metadata.to_pylist()
    results = [
        {"id": item, "distance": distance, "bits": differing, "code": digits, "metadata": metadata}
        for item, distance, differing, digits, metadata in zip(
            ids.tolist(), neighbors.distances[0].tolist(), bits.tolist(), to_hex(codes, index.n_bits), rows, strict=True
        )
    ]
    return {
        "query_code": to_hex(code, index.n_bits)[0],
        "n_bits": n_bits,
        "scoring": scoring,
        "seconds": {"embed": embed_seconds, "search": time.perf_counter() - began},
        "results": results,
    }


def _nearest(
    index: BinaryIndex, query: NDArray[Any], code: NDArray[np.uint8], scoring: str, options: Options
) -> Neighbors:
    names = list(shown_columns(index))
    common: dict[str, Any] = {"n_bits": options.n_bits, "where": options.where, "columns": names or None}
    if scoring == "hamming":
        return index.search(code, options.k, **common)
    if scoring == "asymmetric":
        return index.search(query, options.k, scoring="asymmetric", **common)
    return index.search(query, options.k, rerank=max(_CANDIDATES, RERANKED * options.k), **common)


def _differing_bits(code: NDArray[np.uint8], codes: NDArray[np.uint8], n_bits: int) -> NDArray[np.int32]:
    """Return the Hamming distances of the first bits of codes."""
    mask = np.packbits(np.arange(8 * len(code)) < n_bits)
    distances: NDArray[np.int32] = candidate_distances((code & mask)[None], (codes & mask)[None])[0]
    return distances


def plain(value: Any) -> Any:
    """Return a value of a metadata column as JSON has it: times in ISO format, bytes in hexadecimal, NaN as null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return str(value)
