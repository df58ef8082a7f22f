"""The parts of a binary index: runs of items that never change, but for which of them are still there."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segment", "join", "merge_small"]


@dataclass(frozen=True)
class Segment:
    """Items sorted by id.

    Attributes
    ----------
    codes : ndarray of uint8, shape (n, bytes)
        Packed codes.
    ids : ndarray of int64, shape (n,)
        Rising.
    embeddings : ndarray of float32, shape (n, d), or None
        The float embeddings, where they are kept.
    alive : ndarray of bool, shape (n,), or None
        Which items are not removed; None: all.
    file : str or None
        The name of the file that holds it; None: not saved yet.
    """

    codes: NDArray[np.uint8]
    ids: NDArray[np.int64]
    embeddings: NDArray[np.float32] | None = None
    alive: NDArray[np.bool_] | None = None
    file: str | None = None

    def __len__(self) -> int:
        """Return the number of living items."""
        return len(self.ids) if self.alive is None else int(np.count_nonzero(self.alive))

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each id, or -1 where it is not here or removed."""
        if len(self.ids) == 0:
            return np.full(len(ids), -1, np.int64)
        rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        found = self.ids[rows] == ids
        if self.alive is not None:
            found &= self.alive[rows]
        return np.where(found, rows, -1)

    def without(self, rows: NDArray[np.int64]) -> "Segment":
        """Return the segment with these rows removed; the arrays are shared."""
        alive = np.ones(len(self.ids), np.bool_) if self.alive is None else self.alive.copy()
        alive[rows] = False
        return replace(self, alive=alive)

    def removed_ids(self) -> NDArray[np.int64]:
        """Return the ids of the removed items."""
        return np.zeros(0, np.int64) if self.alive is None else np.asarray(self.ids[~self.alive])


def join(segments: list[Segment]) -> Segment:
    """Make one segment of the living items of several.

    >>> a = Segment(np.array([[1], [2]], np.uint8), np.array([0, 5]))
    >>> b = Segment(np.array([[3]], np.uint8), np.array([3]))
    >>> joined = join([a.without(np.array([0])), b])
    >>> joined.ids, joined.codes.ravel()
    (array([3, 5]), array([3, 2], dtype=uint8))
    """
    living = [slice(None) if segment.alive is None else segment.alive for segment in segments]
    ids = np.concatenate([segment.ids[rows] for segment, rows in zip(segments, living, strict=True)])
    order = np.argsort(ids, kind="stable")
    codes = np.concatenate([segment.codes[rows] for segment, rows in zip(segments, living, strict=True)])[order]
    kept = [
        segment.embeddings[rows]
        for segment, rows in zip(segments, living, strict=True)
        if segment.embeddings is not None
    ]
    return Segment(codes, ids[order], np.concatenate(kept)[order] if kept else None)


def merge_small(segments: list[Segment]) -> list[Segment]:
    """Join unsaved segments of like size, so that many small additions stay few segments at little cost."""
    segments = list(segments)
    while (
        len(segments) > 1
        and segments[-1].file is None
        and segments[-2].file is None
        and 2 * len(segments[-1].ids) >= len(segments[-2].ids)
    ):
        segments[-2:] = [join(segments[-2:])]
    return segments
