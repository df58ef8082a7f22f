"""Exact Hamming search in process, over codes in memory or mapped from a folder."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_codes, as_embeddings, as_ids, bytes_per_code, check_integer, check_metric, check_n_bits
from h2q.errors import describe
from h2q.hamming.asymmetric import AsymmetricScan
from h2q.hamming.neighbors import Neighbors, RadiusNeighbors
from h2q.hamming.scans import NearestScan, RadiusScan
from h2q.index.folder import IndexState, read_folder, write_folder
from h2q.index.segments import Segment, join, merge_small

__all__ = ["BinaryIndex"]

_STEP_QUERIES, _STEP_BYTES = 4096, 256 << 20  # searched at a time at most, and what that may need in memory


class BinaryIndex:
    """An exact index of binary codes.

    Parameters
    ----------
    n_bits : int, optional
        Bits of a code, from 1 to 65,536; may be left out where a quantizer is given.
    quantizer : fitted quantizer, optional
        Turns embeddings into codes, so that `add` and the searches take either.
    keep_embeddings : bool
        Whether the float embeddings that are added are kept, for re-ranking. They take 32 times the memory of codes of
        as many bits.
    metric : {"cosine", "euclidean"}
        What re-ranking compares float embeddings by.

    Raises
    ------
    TypeError, ValueError
        If an option is not one of these, or the quantizer has another number of bits.

    Examples
    --------
    >>> index = BinaryIndex(8)
    >>> index.add(np.array([[0b0000], [0b0001], [0b0111]], dtype=np.uint8), ids=[10, 20, 30])
    array([10, 20, 30])
    >>> neighbors = index.search(np.array([[0b0011]], dtype=np.uint8), k=2)
    >>> neighbors.ids, neighbors.distances
    (array([[20, 30]]), array([[1, 1]], dtype=int32))
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
        self._state = IndexState(check_n_bits(n_bits), (), 0, quantizer, options)
        self._folder: Path | None = None

    @property
    def n_bits(self) -> int:
        """Bits of a code."""
        return self._state.n_bits

    @property
    def quantizer(self) -> Any:
        """What turns embeddings into codes, or None."""
        return self._state.quantizer

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all items, rising; int64 of shape (n,)."""
        living = [s.ids if s.alive is None else s.ids[s.alive] for s in self._state.segments]
        return np.sort(np.concatenate([np.zeros(0, np.int64), *living]))

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(segment) for segment in self._state.segments)

    def __contains__(self, item: object) -> bool:
        """Whether there is an item with this id."""
        if isinstance(item, bool) or not isinstance(item, (int, np.integer)) or not 0 <= item < 2**63:
            return False
        wanted = np.array([item], np.int64)
        return any(segment.find(wanted)[0] >= 0 for segment in self._state.segments)

    def __repr__(self) -> str:
        """Name the bits, the items, and the quantizer."""
        quantizer = "" if self.quantizer is None else f", quantizer={type(self.quantizer).__name__}"
        return f"BinaryIndex({self.n_bits}{quantizer}, {len(self)} items)"

    def add(self, items: Any, ids: Any = None) -> NDArray[np.int64]:
        """Add items; if anything is wrong with them, none is added.

        Parameters
        ----------
        items : array-like
            Codes, uint8 of shape (n, ceil(n_bits / 8)), or embeddings, floats of shape (n, d).
        ids : array-like of int, shape (n,), optional
            From 0 to 2**63 - 1, each new. Default: on from the highest so far.

        Returns
        -------
        ndarray of int64, shape (n,)
            The ids of the items, in their order.

        Raises
        ------
        TypeError, ValueError
            If the items are neither codes nor embeddings, embeddings are given without a quantizer or codes where
            embeddings are kept, or ids are given twice, negative, or taken.
        """
        codes, embeddings = self._codes_and_embeddings(items, "items")
        if self._state.options["keep_embeddings"] and embeddings is None:
            raise TypeError("items are codes, but this index keeps embeddings: add the embeddings themselves")
        n, first = len(codes), self._state.next_id
        if ids is None and first + n > 2**63 - 1:
            raise ValueError(f"ids are used up after {first - 1}: give ids")
        new = np.arange(first, first + n) if ids is None else as_ids(ids, n)
        if n == 0:
            return new
        if ids is not None:
            for segment in self._state.segments:
                taken = new[segment.find(new) >= 0]
                if len(taken):
                    raise ValueError(
                        f"ids holds {len(taken)} id(s) that the index has (first: {taken[0]}); remove these first, or "
                        "give others"
                    )
        order = np.argsort(new, kind="stable")
        kept = embeddings[order] if embeddings is not None and self._state.options["keep_embeddings"] else None
        segments = merge_small([*self._state.segments, Segment(codes[order], new[order], kept)])
        self._state = replace(self._state, segments=tuple(segments), next_id=max(first, int(new.max()) + 1))
        return new

    def remove(self, ids: Any) -> None:
        """Remove items; if one of the ids is unknown, none is removed.

        Parameters
        ----------
        ids : array-like of int, shape (n,)
            Ids of items.

        Raises
        ------
        TypeError, ValueError
            If they are no ids, given twice, or there is no such item.
        """
        wanted = as_ids(ids)
        rows = [segment.find(wanted) for segment in self._state.segments]
        known = np.zeros(len(wanted), np.bool_)
        for found in rows:
            known |= found >= 0
        if not known.all():
            raise ValueError(
                f"{np.count_nonzero(~known)} of {len(wanted)} ids are not in the index (first: {wanted[~known][0]}); "
                "nothing was removed"
            )
        segments = [
            segment.without(found[found >= 0]) if (found >= 0).any() else segment
            for segment, found in zip(self._state.segments, rows, strict=True)
        ]
        self._state = replace(self._state, segments=tuple(segment for segment in segments if len(segment)))

    def codes(self, ids: Any) -> NDArray[np.uint8]:
        """Return the packed codes of items, uint8 of shape (n, ceil(n_bits / 8)).

        Raises
        ------
        TypeError, ValueError
            If they are no ids, given twice, or there is no such item.
        """
        wanted = as_ids(ids)
        result = np.empty((len(wanted), bytes_per_code(self.n_bits)), np.uint8)
        self._gather(wanted, result, "codes")
        return result

    def search(self, queries: Any, k: int, *, scoring: str = "hamming", rerank: int | None = None) -> Neighbors:
        """Return the k nearest items of each query, exactly; ties go to the lower id.

        Parameters
        ----------
        queries : array-like
            Codes, uint8 of shape (n_queries, ceil(n_bits / 8)), or embeddings, floats of shape (n_queries, d).
        k : int
            From 1 to the number of items.
        scoring : {"hamming", "asymmetric"}
            "asymmetric" compares the query's embedding with the codes: the distance is the sum of abs(z_j) over the
            bits in which they differ, z the rotated query. Finer than "hamming", and slower.
        rerank : int, optional
            Take so many candidates (at least k) by the scoring, and return the k nearest of them by their float
            embeddings, which the index must keep. The distance is then 1 - cosine or the Euclidean one, by `metric`.

        Returns
        -------
        Neighbors
            Ids and distances, both (n_queries, k): int32 bits for "hamming", otherwise float32.

        Raises
        ------
        TypeError, ValueError
            If queries are neither codes nor embeddings, k is out of range, or what a scoring needs is not there.
        """
        if len(self) == 0:
            raise ValueError("the index is empty: add items before searching")
        if scoring not in ("hamming", "asymmetric"):
            raise ValueError(f"scoring must be 'hamming' or 'asymmetric'; got {describe(scoring)}")
        k = check_integer(k, "k", low=1)
        if k > len(self):
            raise ValueError(f"k must be at most the number of items, {len(self)}; got {k}")
        codes, embeddings = self._codes_and_embeddings(queries, "queries")
        if embeddings is None and (scoring == "asymmetric" or rerank is not None):
            what = "asymmetric scoring" if rerank is None else "re-ranking"
            raise TypeError(f"{what} needs queries as embeddings, not codes")
        candidates = k
        if rerank is not None:
            if not self._state.options["keep_embeddings"]:
                raise ValueError("rerank needs the float embeddings: make the index with keep_embeddings=True")
            candidates = min(check_integer(rerank, "rerank", low=k), len(self))
        parts = []
        step = self._queries_at_a_time(candidates, 0 if rerank is None else self.quantizer.n_features_in_)
        for start in range(0, len(codes), step):
            some_codes = codes[start : start + step]
            some_embeddings = None if embeddings is None else embeddings[start : start + step]
            if scoring == "asymmetric":
                found = self._nearest_asymmetric(self.quantizer.transform(some_embeddings), candidates)
            else:
                found = self._nearest(some_codes, candidates)
            if rerank is not None and some_embeddings is not None:
                found = self._rerank(some_embeddings, found.ids, k)
            parts.append(found)
        if not parts:
            return Neighbors(np.zeros((0, k), np.int64), np.zeros((0, k), np.int32))
        return Neighbors(np.concatenate([p.ids for p in parts]), np.concatenate([p.distances for p in parts]))

    def search_radius(self, queries: Any, radius: int) -> RadiusNeighbors:
        """Return all items within a Hamming distance of each query, nearest first; ties go to the lower id.

        Parameters
        ----------
        queries : array-like
            Codes or embeddings, as for `search`.
        radius : int
            The largest distance, in bits, that counts; from 0.

        Returns
        -------
        RadiusNeighbors
            Of all queries; ``result[q].ids`` are those of one.
        """
        radius = check_integer(radius, "radius", low=0)
        scan = RadiusScan(self._codes_and_embeddings(queries, "queries")[0], radius)
        for segment in self._state.segments:
            scan.add(segment.codes, segment.ids, segment.alive)
        return scan.finish()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to a folder; what is already there is not written again.

        A save that is killed, or runs into a full disk, leaves the index that was there as it was. An index that was
        made anew replaces one that is in the folder, as a file would be.

        Parameters
        ----------
        path : path
            The folder; made if need be.

        Raises
        ------
        FileExistsError
            If it holds other files, or an index that was changed by another process since this one was opened.
        BlockingIOError
            If another process is saving to it.
        """
        folder = Path(path).resolve()
        state = self._state
        if folder != self._folder:
            segments = tuple(replace(segment, file=None) for segment in state.segments)
            state = replace(state, segments=segments, generation="")
        self._state = write_folder(folder, state)
        self._folder = folder

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an index that `save` wrote; its arrays are mapped from the files, not read.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        FileFormatError
            If it is no index, damaged, or from a newer version of h2q.
        """
        folder = Path(path).resolve()
        state = read_folder(folder)
        index = cls(state.n_bits, quantizer=state.quantizer, **state.options)
        index._state, index._folder = state, folder
        return index

    def compact(self) -> None:
        """Make one segment of all, without the removed items; the next `save` writes it whole.

        Worth while after many additions or removals: a search goes through every segment.
        """
        if self._state.segments:
            self._state = replace(self._state, segments=(join(list(self._state.segments)),))

    def _codes_and_embeddings(self, items: Any, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """Tell codes from embeddings by their dtype; encode embeddings."""
        if getattr(items, "dtype", None) == np.uint8 or str(getattr(items, "dtype", "")) == "torch.uint8":
            return as_codes(items, self.n_bits, name), None
        if self.quantizer is None:
            raise TypeError(
                f"{name} must be packed codes (uint8), since this index has no quantizer; got {describe(items)}: use "
                "pack_bits, or BinaryIndex(quantizer=...)"
            )
        embeddings = as_embeddings(items, name, n_features=self.quantizer.n_features_in_)
        return self.quantizer.encode(embeddings), embeddings

    def _queries_at_a_time(self, candidates: int, n_features: int) -> int:
        """Return how many queries to search for at a time, by the memory that each takes."""
        # Ids, distances and their order, of what is kept and what is new; twice the embeddings.
        per_query = candidates * (64 + 8 * n_features)
        return max(1, min(_STEP_QUERIES, _STEP_BYTES // per_query))

    def _nearest(self, codes: NDArray[np.uint8], k: int) -> Neighbors:
        scan = NearestScan(codes, k)
        for segment in self._state.segments:
            scan.add(segment.codes, segment.ids, segment.alive)
        return scan.finish()

    def _nearest_asymmetric(self, rotated: NDArray[np.float32], k: int) -> Neighbors:
        scan = AsymmetricScan(rotated, k)
        for segment in self._state.segments:
            scan.add(segment.codes, segment.ids, segment.alive)
        return scan.finish()

    def _rerank(self, embeddings: NDArray[np.float32], ids: NDArray[np.int64], k: int) -> Neighbors:
        kept = np.empty((ids.size, embeddings.shape[1]), np.float32)
        self._gather(ids.ravel(), kept, "embeddings")
        candidates = kept.reshape(*ids.shape, -1)
        if self._state.options["metric"] == "cosine":
            products = np.einsum("qcd,qd->qc", candidates, embeddings)
            norms = np.linalg.norm(candidates, axis=2) * np.linalg.norm(embeddings, axis=1)[:, None]
            distances = 1 - products / norms
        else:
            distances = np.linalg.norm(candidates - embeddings[:, None], axis=2)
        return _sorted(ids, distances, k)

    def _gather(self, ids: NDArray[np.int64], result: NDArray[Any], what: str) -> None:
        """Fill the rows of `result` with the codes or the embeddings of these items."""
        found = np.zeros(len(ids), np.bool_)
        for segment in self._state.segments:
            rows = segment.find(ids)
            here = rows >= 0
            result[here] = getattr(segment, what)[rows[here]]
            found |= here
        if not found.all():
            missing = ids[~found]
            raise ValueError(f"{len(missing)} of {len(ids)} ids are not in the index (first: {missing[0]})")


def _sorted(ids: NDArray[np.int64], distances: NDArray[np.float32], k: int) -> Neighbors:
    order = np.lexsort((ids, distances), axis=-1)[:, :k]
    return Neighbors(np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1))
