"""What the indexes of other engines share: checks, encoding, and search in two steps.

An engine keeps columns and compares codes; see the abstract methods of `EngineIndex`.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.index.arrow_filters import matching_rows
from h2q.index.candidates import rank_by_embeddings, rank_by_estimates
from h2q.index.filters import Condition, check_filter
from h2q.index.ids import STRING, check_ids, check_utf8, kind_of, missing_ids
from h2q.index.items import check_items, check_quantizer, columns_of
from h2q.index.metadata import as_table, check_columns
from h2q.index.neighbors import Neighbors, RadiusNeighbors
from h2q.index.options import choose_scoring
from h2q.index.protocol import DRIFT_ROWS, Index
from h2q.index.settings import ItemFormat, Settings
from h2q.quantization.sampling import as_generator, sample_rows
from h2q.quantization.scoring import EncodedItems

__all__ = ["EngineIndex", "map_embeddings"]

_QUERIES = 1000  # at a time


class EngineIndex(Index):
    """An index whose items another engine keeps.

    Searches take two steps where they score by more than the Hamming distance: the engine gives the nearest codes, and
    these candidates are ordered here, by estimated distances (asymmetric scoring) or by embeddings (`rerank`).

    Parameters
    ----------
    settings : Settings
        What the index is.
    quantizer : fitted quantizer or None
        Turns embeddings into codes.
    embeddings : ndarray or None
        Embeddings in a file, for re-ranking: row i belongs to the item with id i.
    oversampling : int
        Candidates that asymmetric scoring orders, as a multiple of the items that it returns.
    """

    def __init__(
        self, settings: Settings, quantizer: Any, *, embeddings: NDArray[Any] | None = None, oversampling: int = 10
    ) -> None:
        if embeddings is not None and embeddings.ndim == 2 and settings.n_features not in (None, embeddings.shape[1]):
            raise ValueError(
                f"embeddings must have {settings.n_features} dimensions, those of the quantizer; got "
                f"{embeddings.shape[1]}"
            )
        self.settings = settings
        self._quantizer = quantizer
        self._embeddings = embeddings
        self._oversampling = check_integer(oversampling, "oversampling", low=1)
        self._format = ItemFormat()

    @abstractmethod
    def _read_format(self) -> ItemFormat:
        """Return what the first additions have decided by now."""

    @abstractmethod
    def _store(
        self, columns: dict[str, NDArray[Any]], ids: NDArray[Any] | None, metadata: Any, *, replace: bool
    ) -> NDArray[Any]:
        """Add items, all or none; return their ids. With `replace`, items whose ids are taken are replaced."""

    @abstractmethod
    def _delete(self, ids: NDArray[Any]) -> None:
        """Remove items, all or none; the ids are known."""

    @abstractmethod
    def _present(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which ids are taken."""

    @abstractmethod
    def _read(self, column: str, ids: NDArray[Any]) -> NDArray[Any]:
        """Return the values of a column for these items, in their order."""

    @abstractmethod
    def _read_metadata(self, ids: NDArray[Any], names: Sequence[str]) -> Any:
        """Return metadata columns of these items, in their order, as a `pyarrow.Table`."""

    @abstractmethod
    def _nearest(self, codes: NDArray[np.uint8], k: int, where: Condition | None) -> Neighbors:
        """Return the k nearest items of each code by Hamming distance, or all, of those that fulfil a condition."""

    @abstractmethod
    def _within(
        self, codes: NDArray[np.uint8], radius: int, limit: int | None, where: Condition | None
    ) -> RadiusNeighbors:
        """Return the items within a Hamming distance of each code, of those that fulfil a condition."""

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self.settings.n_bits

    @property
    def quantizer(self) -> Any:
        """Fitted quantizer that turns embeddings into codes, or None."""
        return self._quantizer

    def use_quantizer(self, quantizer: Any) -> None:
        """Take embeddings through this quantizer, which must be the one that made the codes."""
        check_quantizer(quantizer, self.settings.fingerprint)
        self._quantizer = quantizer

    @property
    def metric(self) -> str:
        """Distance of embeddings: "cosine", "euclidean" or "inner_product"."""
        return self.settings.metric

    @property
    def keeps_embeddings(self) -> bool:
        """Whether there are embeddings of the items to re-rank by, in the engine or in a file."""
        return self.settings.keep_embeddings or self._embeddings is not None

    def _sample_embeddings(self) -> NDArray[np.float32] | None:
        """Return some rows of the file of embeddings, if there is one: the engines do not list their ids."""
        if self._embeddings is None:
            return None
        return sample_rows(self._embeddings, DRIFT_ROWS, as_generator(0), allow_zero_rows=True)

    def __repr__(self) -> str:
        """Name the address, without a password, and the bits."""
        address = re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:***@", str(self.address))
        return f"{type(self).__name__}({address!r}, {self.n_bits} bits)"

    @property
    def format(self) -> ItemFormat:
        """Kind of the ids and metadata columns; asked for until both are known, since they never change."""
        if self._format.id_type is None or self._format.schema is None:
            self._format = self._read_format()
        return self._format

    @property
    def id_type(self) -> str | None:
        """Kind of the ids: "integer", "string", or None before the first items."""
        return self.format.id_type

    @property
    def metadata_schema(self) -> Any:
        """Metadata columns with their types, a `pyarrow.Schema`; None before the first metadata."""
        return self.format.schema

    def __contains__(self, item: object) -> bool:
        """Return whether there is an item with this id."""
        try:
            return bool(self.contains([item])[0])
        except (TypeError, ValueError):
            return False

    def contains(self, ids: Any) -> NDArray[np.bool_]:
        """Return which of the ids are taken by an item, shape (n,)."""
        return self._which_present(self._check_ids(ids))

    def _which_present(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which ids are taken; of an index that never had items, without asking for ids of a kind."""
        return np.zeros(len(ids), np.bool_) if self.id_type is None else self._present(ids)

    def _check_known(self, ids: Any) -> NDArray[Any]:
        """Return ids, or say that an index that never had items has none of them."""
        checked = self._check_ids(ids)
        if self.id_type is None and len(checked):
            raise missing_ids(checked, len(checked))
        return checked

    def add(self, items: Any, ids: Any = None, metadata: Any = None) -> NDArray[Any]:
        """Add items, all or none, under ids that are new; see `h2q.index.BinaryIndex.add`."""
        return self._add(items, ids, metadata, replace=False)

    def upsert(self, items: Any, ids: Any, metadata: Any = None) -> None:
        """Add items, all or none; those whose id is taken replace the item there."""
        if ids is None:
            raise TypeError("ids must be given: an upsert replaces items by their ids")
        self._add(items, ids, metadata, replace=True)

    def _add(self, items: Any, ids: Any, metadata: Any, *, replace: bool) -> NDArray[Any]:
        columns = columns_of(items, self.n_bits, self._quantizer, keep_embeddings=self.settings.keep_embeddings)
        n = len(columns["codes"])
        new = None if ids is None else self._check_ids(ids, n)
        table = None if metadata is None else as_table(metadata, n)
        return self._store(columns, new, table, replace=replace) if n else np.zeros(0, np.int64)

    def _check_ids(self, ids: Any, n: int | None = None) -> NDArray[Any]:
        """Return ids of the kind that the index has."""
        checked = check_ids(ids, n, self.id_type)
        if kind_of(checked) == STRING:
            check_utf8(checked)
        return checked

    def remove(self, ids: Any) -> None:
        """Remove items; if an id is unknown, none is removed.

        Raises
        ------
        TypeError, ValueError
            If they are not ids, given twice, or there is no such item.
        """
        wanted = self._check_ids(ids)
        present = self._which_present(wanted)
        if not present.all():
            raise missing_ids(wanted[~present], len(wanted), "; nothing was removed")
        if len(wanted):
            self._delete(wanted)

    def codes(self, ids: Any) -> NDArray[np.uint8]:
        """Return the packed codes of items, uint8 of shape (n, ceil(n_bits / 8))."""
        return self._read("codes", self._check_known(ids))

    def metadata(self, ids: Any, columns: Sequence[str] | None = None) -> Any:
        """Return metadata of items; see `h2q.index.BinaryIndex.metadata`."""
        return self._read_metadata(self._check_known(ids), check_columns(columns, self.metadata_schema))

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        scoring: str = "auto",
        rerank: int | None = None,
        n_bits: int | None = None,
        prefix: int | None = None,
        shortlist: int | None = None,
        where: Any = None,
        columns: Any = None,
    ) -> Neighbors:
        """Return the k nearest items of each query among the candidates of the engine, nearest first.

        Parameters
        ----------
        queries : array-like
            Codes or embeddings; see `h2q.index.BinaryIndex.search`.
        k : int
            From 1. If the index has fewer items, all of them are returned.
        scoring : {"auto", "asymmetric", "hamming"}
            "hamming" is the order of the engine. "asymmetric" takes `oversampling` times as many items from the engine,
            and orders them by the estimated distance of their embeddings. "auto" is "asymmetric" for embeddings and
            "hamming" for codes.
        rerank : int, optional
            Number of candidates, at least k, that are ordered by their embeddings.
        n_bits, prefix, shortlist : optional
            Not supported: the exact index has them.
        where, columns : optional
            A condition on metadata, as text, and metadata columns of the result; see `h2q.index.BinaryIndex.search`.

        Returns
        -------
        Neighbors
            Ids and distances, both (n_queries, min(k, number of items that fulfil the condition)).

        Raises
        ------
        TypeError, ValueError
            If queries are neither codes nor embeddings, k is out of range, or a scoring lacks what it needs.
        EngineUnavailableError
            If the engine does not answer.
        """
        self._refuse(n_bits=n_bits, prefix=prefix, shortlist=shortlist)
        checked = check_items(queries, "queries", self.n_bits, self._quantizer, allow_1d=True)
        k = check_integer(k, "k", low=1)
        if rerank is not None:
            rerank = check_integer(rerank, "rerank", low=k)
        scoring = choose_scoring(scoring, checked, self.metric, keeps_embeddings=self.keeps_embeddings, rerank=rerank)
        condition, names = self._check_where(where), self._check_names(columns)
        candidates = (rerank or k) * (self._oversampling if scoring == "asymmetric" else 1)

        def search(some: NDArray[Any]) -> Neighbors:
            neighbors = self._nearest(self._codes_of(some), candidates, condition)
            return self._in_order(neighbors, some, k, scoring, rerank)

        neighbors = self._in_steps(checked, search)
        return neighbors if names is None else replace(neighbors, metadata=self._metadata_of(neighbors.ids, names))

    def _in_order(
        self, neighbors: Neighbors, queries: NDArray[Any], k: int, scoring: str, rerank: int | None
    ) -> Neighbors:
        """Return the k nearest of the candidates, by the distance that the search asks for."""
        if neighbors.ids.shape[1] == 0:
            kind = np.int32 if scoring == "hamming" and rerank is None else np.float32
            return Neighbors(neighbors.ids, neighbors.distances.astype(kind))
        if scoring == "asymmetric":
            neighbors = rank_by_estimates(
                neighbors.ids, rerank or k, queries, self._quantizer, self.metric, self._read_encoded
            )
        if rerank is not None:
            k = min(k, neighbors.ids.shape[1])
            neighbors = rank_by_embeddings(neighbors.ids, k, queries, self.metric, self._read_embeddings)
        return neighbors

    def search_radius(
        self, queries: Any, radius: int, *, limit: int | None = None, where: Any = None, columns: Any = None
    ) -> RadiusNeighbors:
        """Return all items within a Hamming distance of each query, or the nearest of them; exact in every engine."""
        condition, names = self._check_where(where), self._check_names(columns)
        radius = min(check_integer(radius, "radius", low=0), self.n_bits)
        if limit is not None:
            limit = check_integer(limit, "limit", low=1)
        checked = check_items(queries, "queries", self.n_bits, self._quantizer, allow_1d=True)
        codes = self._codes_of(checked)
        parts = [
            self._within(codes[start : start + _QUERIES], radius, limit, condition)
            for start in range(0, max(len(codes), 1), _QUERIES)
        ]
        counts = np.concatenate([part.counts for part in parts])
        ids = np.concatenate([part.ids for part in parts])
        return RadiusNeighbors(
            np.concatenate([[0], np.cumsum(counts)]),
            ids,
            np.concatenate([part.distances for part in parts]),
            None if names is None else self._metadata_of(ids, names),
        )

    def _check_where(self, where: Any) -> Condition | None:
        """Return the condition of a search, which fits the metadata columns."""
        if where is None:
            return None
        schema = self.metadata_schema
        condition: Condition = check_filter(where, schema)
        if not isinstance(where, str):
            raise TypeError(f"where must be a text, which {type(self).__name__} translates; got an expression of Arrow")
        matching_rows(schema.empty_table(), condition)  # refuses what Arrow cannot compare
        return condition

    def _check_names(self, columns: Sequence[str] | None) -> list[str] | None:
        return None if columns is None else check_columns(columns, self.metadata_schema)

    def _metadata_of(self, ids: NDArray[Any], names: list[str]) -> Any:
        """Return metadata columns of items that a search returned, a row for each, repeated items included."""
        known, rows = np.unique(ids.ravel(), return_inverse=True)
        return self._read_metadata(known, names).take(rows.ravel())

    def _refuse(self, **options: Any) -> None:
        """Refuse what no engine but the exact index can do."""
        for name, value in options.items():
            if value is not None:
                raise ValueError(f"{type(self).__name__} has no {name}, which the exact index has: leave it out")

    def _in_steps(self, queries: NDArray[Any], search: Callable[[NDArray[Any]], Neighbors]) -> Neighbors:
        parts = [search(queries[start : start + _QUERIES]) for start in range(0, max(len(queries), 1), _QUERIES)]
        if len(parts) == 1:
            return parts[0]
        width = min(part.ids.shape[1] for part in parts)  # items may be removed between the steps
        ids = np.concatenate([part.ids[:, :width] for part in parts])
        return Neighbors(ids, np.concatenate([part.distances[:, :width] for part in parts]))

    def _codes_of(self, queries: NDArray[Any]) -> NDArray[np.uint8]:
        codes: NDArray[np.uint8] = queries if queries.dtype == np.uint8 else self._quantizer.encode_queries(queries)
        return codes

    def _read_encoded(self, ids: NDArray[Any]) -> EncodedItems:
        """Return codes, and scalars if there are any."""
        scalars = self._read("scalars", ids) if self.settings.has_scalars else None
        return EncodedItems(self._read("codes", ids), scalars)

    def _read_embeddings(self, ids: NDArray[Any]) -> NDArray[np.float32]:
        """Return the embeddings of items, from the file if there is one."""
        if self._embeddings is None:
            return self._read("embeddings", ids)
        if ids.dtype == object or (len(ids) and ids.max() >= len(self._embeddings)):
            raise ValueError(
                f"the file of embeddings has {len(self._embeddings):,} rows, one for each id from 0; there is none for "
                f"the item {ids.max()}"
            )
        return np.asarray(self._embeddings[ids], np.float32)


def map_embeddings(path: str) -> NDArray[Any]:
    """Return the embeddings in an .npy file, mapped, not read."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}, the file of embeddings that the address names, does not exist")
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim != 2:
        raise ValueError(f"{path} must hold embeddings of shape (n, d); got {array.shape}")
    return array
