"""Groups of pictures that are nearly the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from h2q.index import BinaryIndex

__all__ = ["DuplicateGroup", "find_duplicates"]


@dataclass(frozen=True)
class DuplicateGroup:
    """Pictures that are nearly the same.

    Attributes
    ----------
    paths : tuple of str
        The pictures; the best first: the one with the most pixels, of these the largest file, of these the oldest.
    distance : int
        Largest distance in bits of two neighbors in the group.

    Examples
    --------
    >>> DuplicateGroup(("cat.png", "cat-small.png"), distance=3).paths[0]
    'cat.png'
    """

    paths: tuple[str, ...]
    distance: int


def find_duplicates(index: BinaryIndex, radius: int) -> Sequence[DuplicateGroup]:
    """Return the groups of pictures that chains of pairs within a Hamming distance connect; the largest groups first.

    Parameters
    ----------
    index : BinaryIndex
        Index of a collection of pictures.
    radius : int
        Largest distance of a pair, in bits.

    Examples
    --------
    >>> import datetime
    >>> names, pixels, size = ["cat.png", "cat-small.png", "dog.png"], [640, 320, 640], [9000, 4000, 8000]
    >>> taken = [datetime.datetime(2026, 1, 1)] * 3
    >>> index = BinaryIndex(8)
    >>> metadata = {"width": pixels, "height": pixels, "size": size, "modified": taken}
    >>> ids = index.add(np.array([[0b0000], [0b0001], [0b1111]], dtype=np.uint8), names, metadata)
    >>> [group.paths for group in find_duplicates(index, radius=1)]
    [('cat.png', 'cat-small.png')]
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ids = index.ids
    neighbors = index.search_radius(index.codes(ids), radius)
    positions = {item: row for row, item in enumerate(ids)}
    left = np.repeat(np.arange(len(ids)), neighbors.counts)
    right = np.array([positions[item] for item in neighbors.ids], np.int64)
    graph = coo_matrix((np.ones(len(left), np.bool_), (left, right)), (len(ids), len(ids)))
    _, labels = connected_components(graph, directed=False)
    table = index.metadata(ids, ["width", "height", "size", "modified"]).to_pylist()
    farthest = np.zeros(labels.max(initial=-1) + 1, np.int64)
    np.maximum.at(farthest, labels[left], neighbors.distances)
    groups = []
    for label in np.flatnonzero(np.bincount(labels) > 1).tolist() if len(ids) else []:
        members = np.flatnonzero(labels == label).tolist()
        members.sort(key=lambda row: _merit(table[row]), reverse=True)
        groups.append(DuplicateGroup(tuple(ids[row] for row in members), int(farthest[label])))
    return sorted(groups, key=lambda group: (-len(group.paths), group.paths[0]))


def _merit(row: dict[str, object]) -> tuple[float, ...]:
    """Return by what a picture is better than its duplicates."""
    pixels = int(str(row["width"])) * int(str(row["height"]))
    return pixels, int(str(row["size"])), -row["modified"].timestamp()  # type: ignore[attr-defined]
