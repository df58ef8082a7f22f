"""Approximate search with FAISS: a structure over codes, sized by their number, with a measured recall."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import require
from h2q.files import read_tensors, write_tensors
from h2q.hamming.scans import NearestScan

__all__ = ["FaissGraph", "Recall", "build_graph", "read_graph", "write_graph"]

_KIND = "faiss graph"
_EFFORTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
_SAMPLE, _MEASURED_K = 400, 100
_POINTS_PER_LIST = 40
_WIDER = 4  # times as many lists, where a search returned too few items
_ROW_BITS, _LAST = 40, np.iinfo(np.int64).max
_HNSW_NEIGHBORS, _HNSW_CONSTRUCTION = 32, 100


@dataclass(frozen=True)
class Recall:
    """How many of the nearest items a structure returns.

    Attributes
    ----------
    method : {"ivf", "hnsw"}
        Structure of FAISS: IndexBinaryIVF or IndexBinaryHNSW.
    lists : int
        Lists of the IVF; 0 for HNSW.
    effort : int
        Lists that a search visits (nprobe), or candidates that it keeps (efSearch).
    target : float
        Recall that was asked for.
    value : float
        Mean recall@100 of held-out codes: the share of the 100 results that are no farther than the true 100th
        neighbor.
    queries : int
        Number of held-out codes.
    items : int
        Number of items when it was measured.
    """

    method: str
    lists: int
    effort: int
    target: float
    value: float
    queries: int
    items: int


@dataclass
class FaissGraph:
    """A structure of FAISS over the rows of an index, to which rows are added, and of which rows are marked as removed.

    Attributes
    ----------
    structure : faiss.IndexBinary
        Codes in the order of the rows.
    ids : ndarray, shape (n_rows,)
        Number of each row's item; see `h2q.index.ids`.
    alive : ndarray of bool, shape (n_rows,)
        Rows that were not removed.
    recall : Recall
        What was measured when it was built.
    """

    structure: Any
    ids: NDArray[Any]
    alive: NDArray[np.bool_]
    recall: Recall

    def __post_init__(self) -> None:
        self.in_order = bool((np.diff(self.ids) > 0).all())  # rows of higher ids are higher
        self._n_removed = int(np.count_nonzero(~self.alive))

    def search(self, codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the k nearest rows that were not removed, and their distances, both of shape (n_queries, k).

        They are sorted by distance, then by row. A row of -1, after all others, means that there are no more. The
        search of a query for which an IVF visited too few codes is repeated in more lists.
        """
        codes = np.ascontiguousarray(codes)
        rows, distances = self._search(codes, k)
        short = rows[:, -1] < 0
        if short.any() and self.recall.method == "ivf":
            set_effort(self.structure, min(_WIDER * self.recall.effort, self.recall.lists))
            try:
                rows[short], distances[short] = self._search(codes[short], k)
            finally:
                set_effort(self.structure, self.recall.effort)
        return rows, distances

    def _search(self, codes: NDArray[np.uint8], k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        distances, rows = self.structure.search(codes, k + min(k, self._n_removed))
        if not self._n_removed:
            return rows, distances  # FAISS sorts by distance, then by row
        # One sort of whole numbers: by distance, then by row; what is no result comes last.
        keys = np.where((rows >= 0) & self.alive[rows], distances.astype(np.int64) << _ROW_BITS | rows, _LAST)
        keys.sort(axis=1)
        keys = keys[:, :k]
        rows = np.where(keys == _LAST, -1, keys & (1 << _ROW_BITS) - 1)
        return rows, (keys >> _ROW_BITS).astype(np.int32)

    def add(self, codes: NDArray[np.uint8], ids: NDArray[Any]) -> None:
        """Append rows; rows that had these ids are removed."""
        self.remove(ids)
        self.structure.add(np.ascontiguousarray(codes))
        self.ids = np.concatenate([self.ids, ids])
        self.in_order = bool((np.diff(self.ids) > 0).all())
        self.alive = np.concatenate([self.alive, np.ones(len(ids), np.bool_)])

    def remove(self, ids: NDArray[Any]) -> None:
        """Mark the rows with these ids as removed."""
        self.alive &= ~np.isin(self.ids, ids)
        self._n_removed = int(np.count_nonzero(~self.alive))


def build_graph(
    codes: NDArray[np.uint8], ids: NDArray[Any], *, method: str, target: float, seed: int = 0
) -> FaissGraph:
    """Build a structure whose recall reaches a target, if any effort does.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n, bytes)
        Packed codes.
    ids : ndarray, shape (n,)
        Their ids.
    method : {"ivf", "hnsw"}
        IndexBinaryIVF with about 2 sqrt(n) lists, or IndexBinaryHNSW.
    target : float
        Wanted recall@100. The effort is chosen on 200 codes of the index (at most a quarter) and its recall measured on
        200 others, none of which train the lists; a code does not count as its own neighbor.
    seed : int
        Of the sample.

    Returns
    -------
    FaissGraph
        The structure, with the measured recall.
    """
    faiss = require("faiss", "faiss")
    generator = np.random.default_rng(seed)
    n, n_bits = len(codes), 8 * codes.shape[1]
    shuffled = generator.permutation(n)
    held_out = min(_SAMPLE, n // 2)
    sample, rest = shuffled[:held_out], shuffled[held_out:]
    lists = 0
    if method == "hnsw":
        structure = faiss.IndexBinaryHNSW(n_bits, _HNSW_NEIGHBORS)
        structure.hnsw.efConstruction = _HNSW_CONSTRUCTION
    else:
        lists = min(round(2 * np.sqrt(n)), len(rest))
        structure = make_ivf(n_bits, lists)
        structure.train(np.ascontiguousarray(codes[np.sort(rest[: _POINTS_PER_LIST * lists])]))
    structure.add(np.ascontiguousarray(codes))
    truth = _true_distances(codes, sample, min(_MEASURED_K, n - 1))
    chosen, measured = sample[: len(sample) // 2], sample[len(sample) // 2 :]
    efforts = [effort for effort in _EFFORTS if method == "hnsw" or effort < lists]
    efforts = [effort for effort in efforts if method == "ivf" or effort >= 16] + ([lists] if method == "ivf" else [])
    for effort in efforts:
        set_effort(structure, effort)
        if _recall(structure, codes, chosen, truth[: len(chosen)]) >= target:
            break
    value = _recall(structure, codes, measured, truth[len(chosen) :])
    return FaissGraph(
        structure, ids, np.ones(n, np.bool_), Recall(method, lists, effort, target, value, len(measured), n)
    )


def make_ivf(n_bits: int, lists: int) -> Any:
    """Return an empty, untrained IndexBinaryIVF."""
    faiss = require("faiss", "faiss")
    coarse = faiss.IndexBinaryFlat(n_bits)
    structure = faiss.IndexBinaryIVF(coarse, n_bits, lists)
    coarse.this.disown()
    structure.own_fields = True
    structure.cp.min_points_per_centroid = 1  # small indexes are not a mistake
    return structure


def set_effort(structure: Any, effort: int) -> None:
    """Say how much of the structure a search visits."""
    if hasattr(structure, "hnsw"):
        structure.hnsw.efSearch = effort
    else:
        structure.nprobe = effort


def _true_distances(codes: NDArray[np.uint8], rows: NDArray[np.int64], k: int) -> NDArray[np.int32]:
    """Return the distance of the k-th neighbor of some rows, themselves aside."""
    scan = NearestScan(np.ascontiguousarray(codes[rows]), k + 1)
    scan.add(codes, np.arange(len(codes)), None)
    distances: NDArray[np.int32] = scan.finish().distances[:, k]
    return distances


def _recall(structure: Any, codes: NDArray[np.uint8], rows: NDArray[np.int64], truth: NDArray[np.int32]) -> float:
    k = min(_MEASURED_K, len(codes) - 1)
    distances, found = structure.search(np.ascontiguousarray(codes[rows]), k + 1)
    near = (distances <= truth[:, None]) & (found >= 0) & (found != rows[:, None])
    return float(np.minimum(near.sum(axis=1) / k, 1).mean())


def write_graph(graph: FaissGraph, path: Path, generation: str) -> None:
    """Write a structure for the saved items that `generation` names."""
    content = require("faiss", "faiss").serialize_index_binary(graph.structure)
    tensors = {"structure": content, "alive": graph.alive.astype(np.uint8), "ids": graph.ids}
    write_tensors(path, _KIND, tensors, {"generation": generation, "recall": asdict(graph.recall)})


def read_graph(path: Path, generation: str) -> FaissGraph | None:
    """Read the structure of these saved items; None if there is none, or its file is damaged: it is built again."""
    try:
        stored = read_tensors(path, _KIND)
        if stored.metadata["generation"] != generation:
            return None
        structure = require("faiss", "faiss").deserialize_index_binary(stored.tensors["structure"])
        recall = Recall(**stored.metadata["recall"])
        ids, alive = np.array(stored.tensors["ids"]), np.array(stored.tensors["alive"]) != 0
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
    set_effort(structure, recall.effort)
    return FaissGraph(structure, ids, alive, recall) if structure.ntotal == len(ids) == len(alive) else None
