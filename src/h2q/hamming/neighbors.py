"""Search results: the nearest items of each query, as arrays and as a sequence over queries."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from h2q.errors import require

__all__ = ["Neighbor", "Neighbors", "QueryNeighbors", "RadiusNeighbors"]

_SHOWN_QUERIES, _SHOWN_ITEMS = 10, 6  # in a repr


class Neighbor(NamedTuple):
    """One item that a search returned: its id, and its distance from the query.

    Examples
    --------
    >>> from h2q.hamming import nearest
    >>> codes = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8)
    >>> nearest(codes[:1], codes, k=2)[0][1]
    Neighbor(id=1, distance=1)
    """

    id: Any
    distance: float


@dataclass(frozen=True, eq=False)
class QueryNeighbors(Sequence[Neighbor]):
    """The neighbors of one query, nearest first: a sequence of (id, distance).

    Attributes
    ----------
    ids : ndarray of shape (n,)
        Ids of the items: int64, or strings (dtype object).
    distances : ndarray of shape (n,)
        Their distances.
    metadata : pyarrow.Table or None
        Their metadata, a row for each item, where the search was asked for columns.

    Examples
    --------
    >>> neighbors = QueryNeighbors(np.array([7, 9]), np.array([0, 1], dtype=np.int32))
    >>> neighbors
    7 (0)  9 (1)
    >>> [item.id for item in neighbors if item.distance > 0]
    [9]
    """

    ids: NDArray[Any]
    distances: NDArray[Any]
    metadata: Any = None

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, item: int) -> Neighbor: ...
    @overload
    def __getitem__(self, item: slice) -> Self: ...
    def __getitem__(self, item: int | slice) -> Neighbor | Self:
        if isinstance(item, slice):
            metadata = None if self.metadata is None else self.metadata.take(np.arange(len(self))[item])
            return type(self)(self.ids[item], self.distances[item], metadata)
        id_ = self.ids[item]
        return Neighbor(id_.item() if isinstance(id_, np.generic) else id_, self.distances[item].item())

    def __iter__(self) -> Iterator[Neighbor]:
        return map(Neighbor, self.ids.tolist(), self.distances.tolist())

    def __repr__(self) -> str:
        shown = "  ".join(_format(item) for item in self[:_SHOWN_ITEMS])
        return f"{shown}  ..." if len(self) > _SHOWN_ITEMS else shown or "none"


def _format(item: Neighbor) -> str:
    """Return an item as people read it, such as ``12 (3)`` or ``12 (0.125)``."""
    distance = item.distance
    return f"{item.id} ({distance if isinstance(distance, int) else format(distance, '.3f')})"


class _Results(Sequence[QueryNeighbors]):
    """What `Neighbors` and `RadiusNeighbors` have in common: a sequence over queries, shown as a small table."""

    ids: NDArray[Any]
    distances: NDArray[Any]
    metadata: Any

    @property
    @abstractmethod
    def counts(self) -> NDArray[np.int64]:
        """Number of items of each query, shape (n_queries,)."""

    @abstractmethod
    def _of_query(self, query: int) -> QueryNeighbors:
        """Return the neighbors of a query, counted from 0."""

    @abstractmethod
    def _of_queries(self, queries: slice) -> Self:
        """Return the result of some queries."""

    @overload
    def __getitem__(self, query: int) -> QueryNeighbors: ...
    @overload
    def __getitem__(self, query: slice) -> Self: ...
    def __getitem__(self, query: int | slice) -> QueryNeighbors | Self:
        """Return the neighbors of one query, or the result of a slice of the queries."""
        if isinstance(query, slice):
            return self._of_queries(query)
        if not -len(self) <= query < len(self):
            raise IndexError(f"query {query} is out of range: the result has {len(self)} queries")
        return self._of_query(query % len(self))

    def __repr__(self) -> str:
        noun = "query" if len(self) == 1 else "queries"
        lines = [f"{type(self).__name__} of {len(self):,} {noun}, id (distance), nearest first:"]
        lines += [f"{query:>5}  {self[query]!r}" for query in range(min(len(self), _SHOWN_QUERIES))]
        return "\n".join([*lines, "  ..."] if len(self) > _SHOWN_QUERIES else lines)

    def _repr_html_(self) -> str:
        """Return the table that notebooks show."""
        rows = []
        for query in range(min(len(self), _SHOWN_QUERIES)):
            neighbors = self[query]
            cells = [_format(item) for item in neighbors[:_SHOWN_ITEMS]]
            cells += ["..."] if len(neighbors) > _SHOWN_ITEMS else []
            rows.append(f"<tr><th>{query}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
        hidden = len(self) - _SHOWN_QUERIES
        caption = f"{type(self).__name__}: id (distance), nearest first" + (f"; {hidden:,} more" if hidden > 0 else "")
        return f"<table><caption>{caption}</caption><tbody>{''.join(rows)}</tbody></table>"

    def to_arrow(self) -> Any:
        """Return a `pyarrow.Table`, a row for each item of each query: query, rank (from 0), id, distance, metadata."""
        import pyarrow as pa

        counts = self.counts
        queries = np.repeat(np.arange(len(counts)), counts)
        ranks = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
        ids = self.ids.ravel()
        columns = {
            "query": queries,
            "rank": ranks,
            "id": pa.array(ids, pa.string() if ids.dtype == object else pa.int64()),
            "distance": self.distances.ravel(),
        }
        if self.metadata is not None:
            columns |= dict(zip(self.metadata.column_names, self.metadata.columns, strict=True))
        return pa.table(columns)

    def to_pandas(self) -> Any:
        """Return `to_arrow` as a `pandas.DataFrame`."""
        require("pandas", "pandas")
        return self.to_arrow().to_pandas()


@dataclass(frozen=True, eq=False, repr=False)
class Neighbors(_Results):
    """The k nearest items of each query, nearest first; ties go to the lower id.

    A sequence over queries: ``len(neighbors)``, ``neighbors[0]``, ``for neighbors_of_query in neighbors``.

    Attributes
    ----------
    ids : ndarray of int64, shape (n_queries, k)
        Ids of the items; strings (dtype object) where those of the index are.
    distances : ndarray, shape (n_queries, k)
        Hamming distances in bits (int32); for asymmetric scoring and after re-ranking the distance that the search
        names (float32).
    metadata : pyarrow.Table or None
        Metadata of the items, a row for each item of each query, where the search was asked for columns.

    Examples
    --------
    >>> neighbors = Neighbors(np.array([[7, 9], [9, 4]]), np.array([[0, 1], [2, 2]], dtype=np.int32))
    >>> neighbors
    Neighbors of 2 queries, id (distance), nearest first:
        0  7 (0)  9 (1)
        1  9 (2)  4 (2)
    >>> for item in neighbors[0]:
    ...     print(item.id, item.distance)
    7 0
    9 1
    >>> neighbors.to_arrow().column_names
    ['query', 'rank', 'id', 'distance']
    """

    ids: NDArray[Any]
    distances: NDArray[Any]
    metadata: Any = None

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.ids)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of items of each query, shape (n_queries,)."""
        return np.full(len(self), self.ids.shape[1], np.int64)

    def _of_query(self, query: int) -> QueryNeighbors:
        return QueryNeighbors(self.ids[query], self.distances[query], self._metadata_of(query))

    def _of_queries(self, queries: slice) -> Self:
        return type(self)(self.ids[queries], self.distances[queries], self._metadata_of(queries))

    def _metadata_of(self, queries: int | slice) -> Any:
        rows = np.arange(self.ids.size).reshape(self.ids.shape)[queries].ravel()
        return None if self.metadata is None else self.metadata.take(rows)


@dataclass(frozen=True, eq=False, repr=False)
class RadiusNeighbors(_Results):
    """All items within a radius of each query, nearest first; ties go to the lower id.

    A sequence over queries, as `Neighbors` is.

    Attributes
    ----------
    offsets : ndarray of int64, shape (n_queries + 1,)
        The items of query q are at ``offsets[q]:offsets[q + 1]`` of `ids` and `distances`.
    ids : ndarray of int64, shape (total,)
        Ids of the items; strings (dtype object) where those of the index are.
    distances : ndarray of int32, shape (total,)
        Hamming distances in bits.
    metadata : pyarrow.Table or None
        Metadata of the items, in their order, where the search was asked for columns.

    Examples
    --------
    >>> neighbors = RadiusNeighbors(np.array([0, 2, 2]), np.array([7, 9]), np.array([0, 1], dtype=np.int32))
    >>> neighbors
    RadiusNeighbors of 2 queries, id (distance), nearest first:
        0  7 (0)  9 (1)
        1  none
    >>> neighbors.counts, neighbors[0].ids
    (array([2, 0]), array([7, 9]))
    """

    offsets: NDArray[np.int64]
    ids: NDArray[Any]
    distances: NDArray[Any]
    metadata: Any = None

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of items of each query, shape (n_queries,)."""
        return np.diff(self.offsets)

    def _of_query(self, query: int) -> QueryNeighbors:
        items = slice(self.offsets[query], self.offsets[query + 1])
        metadata = (
            None if self.metadata is None else self.metadata.slice(int(items.start), int(items.stop - items.start))
        )
        return QueryNeighbors(self.ids[items], self.distances[items], metadata)

    def _of_queries(self, queries: slice) -> Self:
        ranges = [np.arange(self.offsets[q], self.offsets[q + 1]) for q in range(len(self))[queries]]
        rows = np.concatenate([np.zeros(0, np.int64), *ranges])
        metadata = None if self.metadata is None else self.metadata.take(rows)
        return type(self)(np.cumsum([0, *map(len, ranges)]), self.ids[rows], self.distances[rows], metadata)
