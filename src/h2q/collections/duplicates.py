"""Groups of items that are nearly the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.index import BinaryIndex

__all__ = ["DuplicateGroup", "find_duplicates"]


@dataclass(frozen=True)
class DuplicateGroup:
    """Items that are nearly the same.

    Attributes
    ----------
    ids : tuple
        The items; the best first. Of pictures it is the one with the most pixels, of these the largest file, of these
        the oldest; of texts the longest, of these the first.
    distance : int
        Largest distance in bits of two neighbors in the group.
    """

    ids: tuple[Any, ...]
    distance: int


def find_duplicates(
    index: BinaryIndex, radius: int, merits: Callable[[NDArray[Any]], Sequence[Any]] | None = None
) -> Sequence[DuplicateGroup]:
    """Return the groups of items that chains of pairs within a Hamming distance connect; the largest groups first.

    Parameters
    ----------
    index : BinaryIndex
        The index.
    radius : int
        Largest distance of a pair, in bits.
    merits : callable, optional
        Takes ids, and returns for each a value: the items of a group are ordered by it, the largest first. Default:
        by their ids.

    Examples
    --------
    >>> index = BinaryIndex(8)
    >>> ids = index.add(np.array([[0b0], [0b1], [0b11], [0b11111111]], dtype=np.uint8))
    >>> find_duplicates(index, radius=1)
    [DuplicateGroup(ids=(0, 1, 2), distance=1)]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ids = index.ids
    if not len(ids):
        return []
    neighbors = index.search_radius(index.codes(ids), radius)
    left = np.repeat(np.arange(len(ids)), neighbors.counts)
    right = np.searchsorted(ids, neighbors.ids)
    graph = coo_matrix((np.ones(len(left), np.bool_), (left, right)), (len(ids), len(ids)))
    _, labels = connected_components(graph, directed=False)
    farthest = np.zeros(labels.max() + 1, np.int64)
    np.maximum.at(farthest, labels[left], neighbors.distances)
    rows = np.flatnonzero(np.bincount(labels)[labels] > 1)
    values = dict(zip(rows.tolist(), merits(ids[rows]), strict=True)) if merits is not None and len(rows) else {}
    members: dict[int, list[int]] = {}
    for row in rows.tolist():
        members.setdefault(int(labels[row]), []).append(row)
    groups = []
    for label, group in members.items():
        if values:
            group.sort(key=lambda row: values[row], reverse=True)
        groups.append(DuplicateGroup(tuple(ids[group].tolist()), int(farthest[label])))
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids[0]))
