"""Exact search in process, over codes in memory or mapped from a folder."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.checks import bytes_per_code, check_integer, check_number
from h2q.errors import FileFormatError
from h2q.index.folder import MANIFEST
from h2q.index.ids import INTEGER, MAX_ID, STRING, check_ids, strings_of
from h2q.index.items import check_items, columns_of
from h2q.index.metadata import as_table, check_columns
from h2q.index.neighbors import Neighbors, RadiusNeighbors
from h2q.index.options import check_options, check_prefix, choose_scoring
from h2q.index.protocol import DRIFT_ROWS, Index
from h2q.index.results import filtered, metadata_of, with_ids
from h2q.index.searching import search_in_steps, warm_up, within
from h2q.index.segments import gather, join
from h2q.index.state import IndexState
from h2q.index.store import IndexStore

__all__ = ["BinaryIndex"]

_TIMEOUT = 60.0  # seconds


class BinaryIndex(Index):
    """An exact index of binary codes.

    Several threads may use one index at once: changes and saves wait for each other, searches see the items as they
    were when the search began and wait for nothing.

    Parameters
    ----------
    n_bits : int, optional
        Bits of a code, from 1 to 65,536; may be left out where a quantizer is given.
    quantizer : fitted quantizer, optional
        Turns embeddings into codes, so that `add` and the searches take either.
    keep_embeddings : bool
        Whether to keep the float embeddings of the items for re-ranking. They take 32 times the memory of codes of as
        many bits.
    metric : {"cosine", "euclidean", "inner_product"}
        Distance of embeddings: 1 - cosine, the squared Euclidean distance, or the negative inner product. Asymmetric
        scoring estimates it, and re-ranking computes it.

    Raises
    ------
    TypeError, ValueError
        If an option is not one of these, or the quantizer has another number of bits.

    Examples
    --------
    >>> index = BinaryIndex(8)
    >>> index.add(np.array([[0b0000], [0b0001], [0b0111]], dtype=np.uint8), ids=[10, 20, 30])
    array([10, 20, 30])
    >>> index.search(np.array([[0b0011]], dtype=np.uint8), k=2)
    Neighbors of 1 query, id (distance), nearest first:
        0  20 (1)  30 (1)
    """

    def __init__(
        self,
        n_bits: int | None = None,
        *,
        quantizer: Any = None,
        keep_embeddings: bool = False,
        metric: str = "cosine",
    ) -> None:
        n_bits = check_options(n_bits, quantizer, keep_embeddings, metric)
        options = {"keep_embeddings": keep_embeddings, "metric": metric}
        state = IndexState(n_bits, (), 0, quantizer, options)
        self._open_store: IndexStore | None = IndexStore(state)

    @property
    def _store(self) -> IndexStore:
        if self._open_store is None:
            raise ValueError("the index is closed; open it again")
        return self._open_store

    @property
    def _state(self) -> IndexState:
        return self._store.state

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self._state.n_bits

    @property
    def quantizer(self) -> Any:
        """Fitted quantizer that turns embeddings into codes, or None."""
        return self._state.quantizer

    @property
    def keeps_embeddings(self) -> bool:
        """Whether the index keeps the embeddings of its items, which re-ranking needs."""
        return bool(self._state.options["keep_embeddings"])

    @property
    def metric(self) -> str:
        """Distance of embeddings: "cosine", "euclidean" or "inner_product"."""
        return str(self._state.options["metric"])

    @property
    def bytes_per_item(self) -> int:
        """Bytes that an item takes, all but its id: code, scalar if the quantizer has one, embedding if it is kept."""
        quantizer = self.quantizer
        n_bytes = bytes_per_code(self.n_bits)
        if quantizer is not None and quantizer.scalar_tables() is not None:
            n_bytes += 1
        return n_bytes + (4 * int(quantizer.n_features_in_) if self.keeps_embeddings else 0)

    @property
    def id_type(self) -> str | None:
        """Kind of the ids: "integer", "string", or None before the first items."""
        return self._state.id_type

    @property
    def metadata_schema(self) -> Any:
        """Metadata columns with their types, a `pyarrow.Schema`; None before the first metadata."""
        return self._state.schema

    @property
    def address(self) -> str | None:
        """Folder that the index was opened from or last saved to; None before the first save."""
        return None if self._store.path is None else str(self._store.path)

    @property
    def ids(self) -> NDArray[Any]:
        """Ids of all items, increasing; int64, or strings (dtype object), of shape (n,)."""
        state = self._state
        numbers = np.sort(np.concatenate([np.zeros(0, np.int64), *(s.living("ids") for s in state.segments)]))
        return np.sort(strings_of(state.segments, numbers)) if state.id_type == STRING else numbers

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._state)

    def __contains__(self, item: object) -> bool:
        """Return whether there is an item with this id."""
        if isinstance(item, str):
            return self.id_type == STRING and bool(item) and bool(self.contains([item])[0])
        if isinstance(item, bool) or not isinstance(item, (int, np.integer)) or not 0 <= item <= MAX_ID:
            return False
        return self.id_type == INTEGER and bool(self.contains([item])[0])

    def contains(self, ids: Any) -> NDArray[np.bool_]:
        """Return which of the ids are taken by an item, shape (n,)."""
        return self._state.numbers(ids) >= 0

    def tie_order(self, ids: Any) -> NDArray[np.int64]:
        """Return a number for each item; of items at one distance, a search puts the one with the lower number first.

        Raises
        ------
        TypeError, ValueError
            If they are not ids, given twice, or there is no such item.

        Examples
        --------
        >>> index = BinaryIndex(8)
        >>> ids = index.add(np.array([[1], [2]], dtype=np.uint8), ids=["b", "a"])
        >>> nearest = index.search(np.zeros((1, 1), np.uint8), k=2).ids[0]  # both differ in one bit
        >>> bool(np.all(np.diff(index.tie_order(nearest)) > 0))
        True
        """
        return self._state.known_numbers(ids)

    def __repr__(self) -> str:
        """Name the bits, the quantizer, and the number of items."""
        if self._open_store is None:
            return "BinaryIndex(closed)"
        quantizer = "" if self.quantizer is None else f", quantizer={type(self.quantizer).__name__}"
        return f"BinaryIndex({self.n_bits}{quantizer}, {len(self)} items)"

    def add(self, items: Any, ids: Any = None, metadata: Any = None) -> NDArray[Any]:
        """Add items; if anything is wrong with them, none is added.

        Parameters
        ----------
        items : array-like
            Codes, uint8 of shape (n, ceil(n_bits / 8)), embeddings, floats of shape (n, d), or what the quantizer's
            `encode_items` returned. A quantizer that stores a scalar beside each code needs one of the last two.
        ids : array-like of int or str, shape (n,), optional
            Whole numbers from 0 to 2**63 - 1, or strings, as the first items had them; none of them taken. Default:
            whole numbers, counted on from the highest so far.
        metadata : pyarrow.Table, DataFrame, mapping of columns, or list of mappings, optional
            A row for each item. The first metadata decide the columns and their types; columns that are left out
            later are null.

        Returns
        -------
        ndarray of int64 or object, shape (n,)
            Ids of the items, in their order.

        Raises
        ------
        TypeError, ValueError
            If the items are neither codes nor embeddings, embeddings are given without a quantizer or codes where
            embeddings are kept, ids are given twice, negative, taken, or of the other kind, or metadata have another
            number of rows, a new column, or a column of another type.

        Examples
        --------
        >>> index = BinaryIndex(8)
        >>> codes = np.array([[1], [2], [3]], dtype=np.uint8)
        >>> ids = index.add(codes, ids=["cat.jpg", "dog.jpg", "cow.jpg"], metadata={"year": [2019, 2020, 2021]})
        >>> index.search(codes[:1], k=2, where="year >= 2020").ids
        array([['cow.jpg', 'dog.jpg']], dtype=object)
        """
        return self._add(items, ids, metadata, replacing=False)

    def upsert(self, items: Any, ids: Any, metadata: Any = None) -> None:
        """Add items; those whose id is taken replace the item there. If anything is wrong, nothing changes.

        Parameters
        ----------
        items : array-like
            As for `add`.
        ids : array-like of int or str, shape (n,)
            As for `add`, taken or not.
        metadata : table, optional
            As for `add`. An item that is replaced keeps none of its metadata.

        Raises
        ------
        TypeError, ValueError
            See `add`.

        Examples
        --------
        >>> index = BinaryIndex(8)
        >>> index.upsert(np.array([[1], [2]], dtype=np.uint8), ids=[5, 6])
        >>> index.upsert(np.array([[3], [4]], dtype=np.uint8), ids=[6, 7])
        >>> index.codes([5, 6, 7]).ravel()
        array([1, 3, 4], dtype=uint8)
        """
        if ids is None:
            raise TypeError("ids must be given: an upsert replaces items by their ids")
        self._add(items, ids, metadata, replacing=True)

    def _add(self, items: Any, ids: Any, metadata: Any, *, replacing: bool) -> NDArray[Any]:
        state = self._state
        columns = columns_of(items, state.n_bits, state.quantizer, keep_embeddings=self.keeps_embeddings)
        n = len(columns["codes"])
        checked = None if ids is None else check_ids(ids, n, state.id_type)
        table = None if metadata is None else as_table(metadata, n)
        with self._store.changing:
            self._store.state, new = self._state.with_items(columns, checked, table, replacing=replacing)
        return new

    def remove(self, ids: Any) -> None:
        """Remove items; if an id is unknown, none is removed.

        Parameters
        ----------
        ids : array-like of int or str, shape (n,)
            Ids of items.

        Raises
        ------
        TypeError, ValueError
            If they are not ids, given twice, or there is no such item.
        """
        with self._store.changing:
            state = self._state
            self._store.state = state.without_items(state.known_numbers(ids, "; nothing was removed"))

    def codes(self, ids: Any) -> NDArray[np.uint8]:
        """Return the packed codes of items, uint8 of shape (n, ceil(n_bits / 8)).

        Raises
        ------
        TypeError, ValueError
            If they are not ids, given twice, or there is no such item.
        """
        state = self._state
        numbers = state.known_numbers(ids)
        result = np.empty((len(numbers), bytes_per_code(self.n_bits)), np.uint8)
        gather(state.segments, "codes", numbers, result)
        return result

    def embeddings(self, ids: Any) -> NDArray[np.float32]:
        """Return the embeddings of items, which the index must keep, float32 of shape (n, d).

        Raises
        ------
        TypeError, ValueError
            If the index keeps no embeddings, they are not ids, given twice, or there is no such item.

        Examples
        --------
        >>> from h2q.quantization import SignQuantizer
        >>> X = np.array([[1.0, -2.0], [-1.0, 2.0]])
        >>> index = BinaryIndex(quantizer=SignQuantizer().fit(X), keep_embeddings=True)
        >>> index.embeddings(index.add(X)).tolist()
        [[1.0, -2.0], [-1.0, 2.0]]
        """
        if not self.keeps_embeddings:
            raise ValueError("this index keeps no embeddings: make it with BinaryIndex(..., keep_embeddings=True)")
        state = self._state
        numbers = state.known_numbers(ids)
        result = np.empty((len(numbers), int(state.quantizer.n_features_in_)), np.float32)
        gather(state.segments, "embeddings", numbers, result)
        return result

    def metadata(self, ids: Any, columns: Sequence[str] | None = None) -> Any:
        """Return metadata of items.

        Parameters
        ----------
        ids : array-like of int or str, shape (n,)
            Ids of items.
        columns : sequence of str, optional
            Names of columns. Default: all.

        Returns
        -------
        pyarrow.Table
            A row for each id, in their order; null where an item was added without.

        Raises
        ------
        TypeError, ValueError
            If they are not ids, given twice, there is no such item, or no such column.

        Examples
        --------
        >>> index = BinaryIndex(8)
        >>> ids = index.add(np.array([[1], [2]], dtype=np.uint8), metadata=[{"label": "cat"}, {"label": "dog"}])
        >>> index.metadata([1, 0]).to_pydict()
        {'label': ['dog', 'cat']}
        """
        state = self._state
        return metadata_of(state, state.known_numbers(ids), columns)

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
        columns: Sequence[str] | None = None,
    ) -> Neighbors:
        """Return the k nearest items of each query, exactly by the scoring; ties go to the lower id.

        Parameters
        ----------
        queries : array-like
            Codes, uint8 of shape (n_queries, ceil(n_bits / 8)), or embeddings, floats of shape (n_queries, d). One
            query may be 1-D.
        k : int
            From 1. If the index has fewer items, all of them are returned.
        scoring : {"auto", "asymmetric", "hamming"}
            "asymmetric" estimates the distance of embeddings (see `metric`) from the query's embedding and the item's
            code: much better recall than "hamming" at the same memory, and slower. "hamming" counts the bits in which
            codes differ. "auto" is "asymmetric" for embeddings and "hamming" for codes.
        rerank : int, optional
            Number of candidates, at least k: take these by the scoring, and return the k nearest of them by their
            float embeddings, which the index must keep.
        n_bits : int, optional
            Compare only the first bits of the codes. A `NestedQuantizer` makes codes whose prefixes are good codes; of
            other codes these are just the first n_bits bits. Default: all.
        prefix : int, optional
            Search in two passes: compare this many first bits of all codes by the Hamming distance, then score only the
            items that are nearest by these.
        shortlist : int, optional
            Number of items of each query that the first pass lets through, at least k (and `rerank`). Default: the
            result is exactly that of a search without `prefix`, which needs Hamming scoring; queries for which the
            prefix does not prove it are searched without.
        where : str or pyarrow.compute.Expression, optional
            Search only the items that fulfil a condition on their metadata, such as
            ``"year >= 2020 and label in ('cat', 'dog')"``; see `h2q.index.filters.parse_filter`.
        columns : sequence of str, optional
            Metadata columns of the items that the result holds.

        Returns
        -------
        Neighbors
            A sequence over queries. Ids and distances, both (n_queries, min(k, number of items searched)). Distances
            are int32 bits for "hamming"; otherwise float32, by `metric`, estimated or after re-ranking exact.

        Raises
        ------
        TypeError, ValueError
            If queries are neither codes nor embeddings, an option is out of range, or a scoring lacks what it needs.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from h2q.quantization import HouseholderQuantizer
        >>> X = load_digits().data[:, 1:]
        >>> index = BinaryIndex(quantizer=HouseholderQuantizer(32, random_state=0).fit(X))
        >>> ids = index.add(X)
        >>> index.search(X[:2], k=3).ids.shape, index.search(X[:2], k=3, scoring="hamming").distances[:, 0]
        ((2, 3), array([0, 0], dtype=int32))
        """
        state = self._state
        checked = check_items(queries, "queries", state.n_bits, state.quantizer, allow_1d=True)
        k = check_integer(k, "k", low=1)
        segments = filtered(state, where)
        n_items = sum(map(len, segments))
        if columns is not None:
            check_columns(columns, state.schema)
        if rerank is not None:
            rerank = min(check_integer(rerank, "rerank", low=k), n_items)
        scoring = choose_scoring(scoring, checked, self.metric, keeps_embeddings=self.keeps_embeddings, rerank=rerank)
        n_bits, two_passes = check_prefix(n_bits, prefix, shortlist, state.n_bits, rerank or k, scoring)
        neighbors = search_in_steps(
            segments,
            checked,
            min(k, n_items),
            quantizer=state.quantizer,
            scoring=scoring,
            metric=self.metric,
            candidates=rerank,
            n_bits=n_bits,
            prefix=two_passes,
        )
        return with_ids(neighbors, state, columns)

    def search_radius(
        self,
        queries: Any,
        radius: int,
        *,
        limit: int | None = None,
        where: Any = None,
        columns: Sequence[str] | None = None,
    ) -> RadiusNeighbors:
        """Return all items within a Hamming distance of each query, nearest first; ties go to the lower id.

        Parameters
        ----------
        queries : array-like
            Codes or embeddings, as for `search`.
        radius : int
            The largest distance, in bits; from 0.
        limit : int, optional
            Return at most this many items of a query, the nearest. Default: all, at about 64 bytes of working memory
            each.
        where : str or pyarrow.compute.Expression, optional
            Search only the items that fulfil a condition on their metadata, such as
            ``"year >= 2020 and label in ('cat', 'dog')"``; see `h2q.index.filters.parse_filter`.
        columns : sequence of str, optional
            Metadata columns of the items that the result holds.

        Returns
        -------
        RadiusNeighbors
            A sequence over queries: ``result[q].ids`` are the items of query q.
        """
        radius = check_integer(radius, "radius", low=0)
        if limit is not None:
            limit = check_integer(limit, "limit", low=1)
        state = self._state
        checked = check_items(queries, "queries", state.n_bits, state.quantizer, allow_1d=True)
        segments = filtered(state, where)
        if columns is not None:
            check_columns(columns, state.schema)
        codes = checked if checked.dtype == np.uint8 else state.quantizer.encode_queries(checked)
        return with_ids(within(segments, codes, min(radius, state.n_bits), limit), state, columns)

    def _sample_embeddings(self) -> NDArray[np.float32] | None:
        from h2q.index.refitting import sample_embeddings

        return sample_embeddings(self._state, DRIFT_ROWS)

    def refit(self, quantizer: Any = None, *, embeddings: Any = None, ids: Any = None) -> None:
        """Replace the quantizer, and encode all items again; ids and metadata stay.

        If anything is wrong, nothing changes. The folder of the index changes with the next `save`, in one step. From
        then on, what the old quantizer encoded is refused.

        Parameters
        ----------
        quantizer : quantizer, optional
            A fitted one, or one that is fitted here on the embeddings of the items. Default: one with the parameters
            of the index's own.
        embeddings : array-like of shape (n_items, d), optional
            A row for each item; needed where the index keeps no embeddings, and only there.
        ids : array-like of int or str, shape (n_items,), optional
            The item of each row of `embeddings`. Default: the order of `ids` of the index.

        Raises
        ------
        TypeError, ValueError
            If embeddings are missing, or are not those of all items; or the quantizer does not go with them.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from h2q.quantization import HouseholderQuantizer
        >>> X, y = load_digits(return_X_y=True)
        >>> index = BinaryIndex(quantizer=HouseholderQuantizer(32, random_state=0).fit(X[y < 5]), keep_embeddings=True)
        >>> ids = index.add(X)
        >>> old = index.quantizer
        >>> index.refit()
        >>> index.add(old.encode_items(X))
        Traceback (most recent call last):
        ...
        ValueError: items were encoded by another quantizer ...
        """
        from h2q.index.refitting import refitted

        with self._store.changing:
            self._store.state = refitted(self._state, quantizer, embeddings, ids)

    def warm_up(self) -> None:
        """Load or compile the search kernels, which the first search would otherwise wait for."""
        state = self._state
        warm_up(state.segments, state.n_bits, state.quantizer)

    def save(self, path: str | os.PathLike[str] | None = None, *, timeout: float = _TIMEOUT) -> None:
        """Write the index to a folder; what is already there is not written again, and without changes nothing is.

        A save that fails or is killed leaves the index that was there as it was. A new index replaces one that is in
        the folder. Changes that another process saved since this index was opened are taken up, if they concern other
        items.

        Parameters
        ----------
        path : path, optional
            The folder; made if need be. Default: where the index was opened from or last saved to.
        timeout : float
            Seconds to wait for another process that is saving to the folder.

        Raises
        ------
        ValueError
            If no folder is given, and there is no default.
        FileExistsError
            If the folder holds other files, or another process changed the same items or replaced the index.
        TimeoutError
            If another process is still saving after `timeout` seconds.
        DiskFullError
            If the disk is full.
        """
        folder = None if path is None else Path(path)
        self._store.save(folder, check_number(timeout, "timeout", low=0))

    @contextmanager
    def locked(self, timeout: float = _TIMEOUT) -> Iterator[Self]:
        """Keep other processes from saving to the index's folder, and take up what they saved before.

        Within the block, ids that `add` chooses cannot clash with those that another process chooses.

        Examples
        --------
        >>> import tempfile
        >>> index = BinaryIndex(8)
        >>> index.save(tempfile.mkdtemp())
        >>> with index.locked():
        ...     ids = index.add(np.array([[1], [2]], dtype=np.uint8))
        ...     index.save()
        """
        with self._store.locked(check_number(timeout, "timeout", low=0)):
            yield self

    def refresh(self) -> None:
        """Take up what other processes saved since the index was opened; unsaved changes are kept.

        Raises
        ------
        FileExistsError
            If another process changed the same items, or replaced the index.
        """
        self._store.refresh()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an index that `save` wrote; its arrays are mapped from the files, not read.

        Every part of the files is compared with its checksum before it is first used.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        FileFormatError
            If it is not an index, damaged, or from a newer version of h2q.
        """
        store = IndexStore.open(Path(path))
        state = store.state
        try:
            index = cls(state.n_bits, quantizer=state.quantizer, **state.options)
        except (TypeError, ValueError) as error:
            raise FileFormatError(
                f"{store.path}: {MANIFEST} has options that this h2q does not know: {error}; open it with the h2q "
                "that wrote it, or restore it from a copy"
            ) from error
        index._open_store = store
        return index

    def close(self) -> None:
        """Release the mapped files without saving; the index cannot be used any more."""
        self._open_store = None

    def compact(self) -> None:
        """Make one segment of all, without the removed items; the next `save` writes it whole.

        Use it after many additions or removals: a search scans every segment.
        """
        with self._store.changing:
            state = self._state
            if state.segments:
                self._store.state = replace(state, segments=(join(state.segments),))
