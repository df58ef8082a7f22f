"""Exact search in process, over codes in memory or mapped from a folder."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_ids, bytes_per_code, check_integer, check_metric, check_n_bits, check_number
from h2q.errors import FileFormatError, describe
from h2q.index.columns import Columns
from h2q.index.folder import MANIFEST, IndexFolder
from h2q.index.items import check_items
from h2q.index.merging import merge
from h2q.index.neighbors import Neighbors, RadiusNeighbors
from h2q.index.protocol import Index
from h2q.index.searching import nearest_by_codes, nearest_by_weights, search_in_steps, within
from h2q.index.segments import Segment, find_ids, gather, join, merge_small, remove_rows
from h2q.index.state import IndexState

__all__ = ["BinaryIndex"]

_MAX_ID = 2**63 - 1
_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True)
class _View:
    """The index in memory and where it came from; replaced as a whole, so that an interrupt leaves it consistent.

    `saved` is the content of the folder when this index last read or wrote it, and `pending` what a save was about to
    make of it: where the save was interrupted, that may have been committed or not.
    """

    state: IndexState
    folder: IndexFolder | None = None
    saved: IndexState | None = None
    pending: IndexState | None = None


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
    metric : {"cosine", "euclidean"}
        Distance of embeddings that re-ranking uses.

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
        if quantizer is not None:
            fitted = getattr(quantizer, "n_bits_", None)
            if fitted is None:
                raise ValueError(f"quantizer must be fitted; got {describe(quantizer)}: call its fit first")
            if n_bits is not None and n_bits != fitted:
                raise ValueError(
                    f"n_bits is {n_bits}, but the quantizer makes codes of {fitted} bits; leave n_bits out"
                )
            n_bits = fitted
        if n_bits is None:
            raise ValueError("n_bits is missing: give the bits of a code, or a fitted quantizer")
        check_metric(metric)
        if not isinstance(keep_embeddings, bool):
            raise TypeError(f"keep_embeddings must be True or False; got {describe(keep_embeddings)}")
        if keep_embeddings and quantizer is None:
            raise ValueError("keep_embeddings needs a quantizer, which makes the codes: BinaryIndex(quantizer=...)")
        options = {"keep_embeddings": keep_embeddings, "metric": metric}
        self._current: _View | None = _View(IndexState(check_n_bits(n_bits), (), 0, quantizer, options))
        self._changing = threading.RLock()

    @property
    def _view(self) -> _View:
        if self._current is None:
            raise ValueError("the index is closed; open it again")
        return self._current

    @property
    def _state(self) -> IndexState:
        return self._view.state

    def _set_state(self, state: IndexState) -> None:
        self._current = replace(self._view, state=state)

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
        """Distance of embeddings that re-ranking uses: "cosine" or "euclidean"."""
        return str(self._state.options["metric"])

    @property
    def address(self) -> str | None:
        """Folder that the index was opened from or last saved to; None before the first save."""
        folder = self._view.folder
        return None if folder is None else str(folder.path)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all items, increasing; int64 of shape (n,)."""
        return np.sort(np.concatenate([np.zeros(0, np.int64), *(s.living("ids") for s in self._state.segments)]))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._state)

    def __contains__(self, item: object) -> bool:
        """Return whether there is an item with this id."""
        if isinstance(item, bool) or not isinstance(item, (int, np.integer)) or not 0 <= item <= _MAX_ID:
            return False
        return bool(self.contains([item])[0])

    def contains(self, ids: Any) -> NDArray[np.bool_]:
        """Return which of the ids are taken by an item, shape (n,)."""
        return find_ids(self._state.segments, as_ids(ids))

    def __repr__(self) -> str:
        """Name the bits, the quantizer, and the number of items."""
        if self._current is None:
            return "BinaryIndex(closed)"
        quantizer = "" if self.quantizer is None else f", quantizer={type(self.quantizer).__name__}"
        return f"BinaryIndex({self.n_bits}{quantizer}, {len(self)} items)"

    def add(self, items: Any, ids: Any = None) -> NDArray[np.int64]:
        """Add items; if anything is wrong with them, none is added.

        Parameters
        ----------
        items : array-like
            Codes, uint8 of shape (n, ceil(n_bits / 8)), or embeddings, floats of shape (n, d).
        ids : array-like of int, shape (n,), optional
            From 0 to 2**63 - 1, none of them taken. Default: counted on from the highest so far.

        Returns
        -------
        ndarray of int64, shape (n,)
            Ids of the items, in their order.

        Raises
        ------
        TypeError, ValueError
            If the items are neither codes nor embeddings, embeddings are given without a quantizer or codes where
            embeddings are kept, or ids are given twice, negative, or taken.
        """
        columns = self._columns(items)
        n = len(columns["codes"])
        with self._changing:
            state = self._state
            if ids is None and state.next_id + n > _MAX_ID:
                raise ValueError(f"there are no ids left after {state.next_id - 1}: give ids")
            new = np.arange(state.next_id, state.next_id + n) if ids is None else as_ids(ids, n)
            if ids is not None:
                taken = new[find_ids(state.segments, new)]
                if len(taken):
                    raise ValueError(
                        f"ids holds {len(taken)} id(s) that the index already has (first: {taken[0]}); choose other "
                        "ids, or replace these items with upsert"
                    )
            self._set_state(_with_items(state, state.segments, columns, new))
        return new

    def upsert(self, items: Any, ids: Any) -> None:
        """Add items; those whose id is taken replace the item there. If anything is wrong, nothing changes.

        Parameters
        ----------
        items : array-like
            Codes or embeddings, as for `add`.
        ids : array-like of int, shape (n,)
            From 0 to 2**63 - 1.

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
        columns = self._columns(items)
        new = as_ids(ids, len(columns["codes"]))
        with self._changing:
            state = self._state
            self._set_state(_with_items(state, remove_rows(state.segments, new), columns, new))

    def remove(self, ids: Any) -> None:
        """Remove items; if an id is unknown, none is removed.

        Parameters
        ----------
        ids : array-like of int, shape (n,)
            Ids of items.

        Raises
        ------
        TypeError, ValueError
            If they are not ids, given twice, or there is no such item.
        """
        wanted = as_ids(ids)
        with self._changing:
            state = self._state
            unknown = wanted[~find_ids(state.segments, wanted)]
            if len(unknown):
                raise ValueError(
                    f"{len(unknown)} of {len(wanted)} ids are not in the index (first: {unknown[0]}); nothing was "
                    "removed"
                )
            self._set_state(replace(state, segments=remove_rows(state.segments, wanted)))

    def codes(self, ids: Any) -> NDArray[np.uint8]:
        """Return the packed codes of items, uint8 of shape (n, ceil(n_bits / 8)).

        Raises
        ------
        TypeError, ValueError
            If they are not ids, given twice, or there is no such item.
        """
        wanted = as_ids(ids)
        result = np.empty((len(wanted), bytes_per_code(self.n_bits)), np.uint8)
        gather(self._state.segments, "codes", wanted, result)
        return result

    def search(self, queries: Any, k: int = 10, *, scoring: str = "hamming", rerank: int | None = None) -> Neighbors:
        """Return the k nearest items of each query, exactly; ties go to the lower id.

        Parameters
        ----------
        queries : array-like
            Codes, uint8 of shape (n_queries, ceil(n_bits / 8)), or embeddings, floats of shape (n_queries, d). One
            query may be 1-D.
        k : int
            From 1. Where the index has fewer items, all of them are returned.
        scoring : {"hamming", "asymmetric"}
            "asymmetric" compares the query's embedding with the codes: the distance is the sum of abs(z_j) over the
            bits in which they differ, z the rotated query. Finer than "hamming", and slower.
        rerank : int, optional
            Number of candidates, at least k: take these by the scoring, and return the k nearest of them by their
            float embeddings, which the index must keep. The distance is then 1 - cosine or Euclidean, by `metric`.

        Returns
        -------
        Neighbors
            A sequence over queries. Ids and distances, both (n_queries, min(k, number of items)): int32 bits for
            "hamming", otherwise float32.

        Raises
        ------
        TypeError, ValueError
            If queries are neither codes nor embeddings, k is out of range, or a scoring lacks what it needs.
        """
        state = self._state
        if scoring not in ("hamming", "asymmetric"):
            raise ValueError(f"scoring must be 'hamming' or 'asymmetric'; got {describe(scoring)}")
        k = check_integer(k, "k", low=1)
        if rerank is not None:
            rerank = min(check_integer(rerank, "rerank", low=k), len(state))
            if not self.keeps_embeddings:
                raise ValueError(
                    "rerank needs the embeddings of the items, which this index does not keep: make it with "
                    "BinaryIndex(quantizer=..., keep_embeddings=True)"
                )
        checked = check_items(queries, "queries", state.n_bits, state.quantizer, allow_1d=True)
        if checked.dtype == np.uint8 and (scoring == "asymmetric" or rerank is not None):
            what = "asymmetric scoring" if rerank is None else "re-ranking"
            raise TypeError(f"{what} needs queries as embeddings, not codes")
        return search_in_steps(
            state.segments,
            checked,
            min(k, len(state)),
            quantizer=state.quantizer,
            scoring=scoring,
            candidates=rerank,
            metric=self.metric,
        )

    def search_radius(self, queries: Any, radius: int) -> RadiusNeighbors:
        """Return all items within a Hamming distance of each query, nearest first; ties go to the lower id.

        Parameters
        ----------
        queries : array-like
            Codes or embeddings, as for `search`.
        radius : int
            The largest distance, in bits; from 0.

        Returns
        -------
        RadiusNeighbors
            A sequence over queries: ``result[q].ids`` are the items of query q.
        """
        radius = check_integer(radius, "radius", low=0)
        state = self._state
        checked = check_items(queries, "queries", state.n_bits, state.quantizer, allow_1d=True)
        codes = checked if checked.dtype == np.uint8 else state.quantizer.encode(checked)
        return within(state.segments, codes, radius)

    def warm_up(self) -> None:
        """Load or compile the search kernels, which the first search would otherwise wait for."""
        state = self._state
        for segment in state.segments[:1]:
            row = [Segment(Columns({name: segment.columns[name][:1] for name in ("codes", "ids")}))]
            nearest_by_codes(row, segment.codes[:1], 1)
            within(row, segment.codes[:1], 0)
            nearest_by_weights(row, np.ones((1, state.n_bits), np.float32), 1)

    def save(self, path: str | os.PathLike[str] | None = None, *, timeout: float = _TIMEOUT) -> None:
        """Write the index to a folder; what is already there is not written again.

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
        timeout = check_number(timeout, "timeout", low=0)
        with self._changing:
            own = self._view.folder
            folder = own if path is None else IndexFolder(Path(path).resolve())
            if folder is None:
                raise ValueError("path is missing: the index has not been saved yet")
            if own is not None and folder.path == own.path:
                folder = own
            with folder.locked(timeout):
                # The folder may have been deleted since it was opened.
                if folder is not own or not folder.holds_index():
                    self._write(folder, self._state.unsaved())
                else:
                    self._take_up(folder)
                    self._write(folder, self._state)

    def _take_up(self, folder: IndexFolder) -> None:
        """Merge in what another process saved to the index's folder since it was last read or written."""
        manifest = folder.read_manifest()
        view = self._view
        if view.pending is not None and manifest.generation == view.pending.generation:
            view = self._current = replace(view, saved=view.pending, pending=None)
        saved = view.saved
        if saved is None or manifest.generation == saved.generation:
            return
        if manifest.uid != saved.uid:
            raise FileExistsError(
                f"another index was saved to {folder.path} since this one was opened; save to another folder"
            )
        disk = folder.read()
        self._current = _View(merge(saved, view.state, disk, may_be_there=view.pending is not None), folder, disk)

    def _write(self, folder: IndexFolder, state: IndexState) -> None:
        """Write a state to a locked folder; whatever happens, adopt it if and only if it was committed."""
        written, pending = None, self._view.pending
        try:
            written = folder.write_parts(state)
            self._current = replace(self._view, pending=written)
            folder.commit(written)
        finally:
            if written is not None and folder.holds_generation(written.generation):
                self._current = _View(written, folder, written)
            else:
                self._current = replace(self._view, pending=pending)
                folder.delete_left_overs()
        folder.write_backup()
        folder.delete_left_overs()

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
        folder = self._view.folder
        if folder is None:
            raise ValueError("the index has not been saved yet: there is no folder to lock")
        with self._changing, folder.locked(check_number(timeout, "timeout", low=0)):
            self._take_up(folder)
            yield self

    def refresh(self) -> None:
        """Take up what other processes saved since the index was opened; unsaved changes are kept.

        Raises
        ------
        FileExistsError
            If another process changed the same items, or replaced the index.
        """
        with self._changing:
            folder = self._view.folder
            if folder is not None:
                self._take_up(folder)

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
        folder = IndexFolder(Path(path).resolve())
        state = folder.read()
        try:
            index = cls(state.n_bits, quantizer=state.quantizer, **state.options)
        except (TypeError, ValueError) as error:
            raise FileFormatError(
                f"{folder.path / MANIFEST} has options that this h2q does not know: {error}"
            ) from error
        index._current = _View(state, folder, state)
        return index

    def close(self) -> None:
        """Release the mapped files without saving; the index cannot be used any more."""
        self._current = None

    def compact(self) -> None:
        """Make one segment of all, without the removed items; the next `save` writes it whole.

        Use it after many additions or removals: a search scans every segment.
        """
        with self._changing:
            state = self._state
            if state.segments:
                self._set_state(replace(state, segments=(join(state.segments),)))

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle stores: the folder if all is saved there, otherwise the items."""
        view = self._view
        if view.folder is not None and view.state is view.saved:
            return {"path": view.folder.path}
        return {"state": view.state.unsaved()}

    def __setstate__(self, stored: dict[str, Any]) -> None:
        self._changing = threading.RLock()
        self._current = self.open(stored["path"])._current if "path" in stored else _View(stored["state"])

    def _columns(self, items: Any) -> dict[str, NDArray[Any]]:
        """Return the columns of new items, all but their ids."""
        state = self._state
        checked = check_items(items, "items", state.n_bits, state.quantizer)
        if checked.dtype != np.uint8:
            columns = {"codes": state.quantizer.encode(checked)}
            return columns | {"embeddings": checked} if self.keeps_embeddings else columns
        if self.keeps_embeddings:
            raise TypeError("items are codes, but this index keeps embeddings: add the embeddings themselves")
        return {"codes": checked}


def _with_items(
    state: IndexState, segments: tuple[Segment, ...], columns: dict[str, NDArray[Any]], ids: NDArray[np.int64]
) -> IndexState:
    """Return the state with these segments and new items, whose arrays are copied."""
    if len(ids) == 0:
        return state
    order = np.argsort(ids, kind="stable")
    new = Segment(Columns({name: values[order] for name, values in (columns | {"ids": ids}).items()}))
    next_id = max(state.next_id, int(ids.max()) + 1)
    return replace(state, segments=merge_small([*segments, new]), next_id=next_id)
