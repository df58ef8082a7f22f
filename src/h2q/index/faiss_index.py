"""Approximate search in process: an exact index in a folder, and a structure of FAISS over its codes."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.index.engine import EngineIndex, map_embeddings
from h2q.index.exact import BinaryIndex
from h2q.index.faiss_graph import FaissGraph, Recall, build_graph, read_graph, write_graph
from h2q.index.filters import Condition
from h2q.index.ids import STRING, strings_of
from h2q.index.neighbors import Neighbors, RadiusNeighbors
from h2q.index.places import split_options
from h2q.index.segments import gather, join
from h2q.index.settings import ItemFormat, Settings

__all__ = ["FaissIndex"]

_OPTIONS = {"recall": 0.95, "method": "ivf", "min_items": 20_000, "oversampling": 10, "embeddings": None}
_FEWEST = 100  # items, whatever the address says
_GROWTH = 2  # times as many items as when the structure was built: it is built again
_ITEMS, _GRAPH = "items", "approximate.safetensors"


class FaissIndex(EngineIndex):
    """An index in a folder whose searches visit a part of the codes.

    Made by `h2q.index.create_index` and opened by `h2q.index.open_index`, from an address such as
    ``faiss:folder?recall=0.95``. Options of the address:

    - ``recall``: share of the 100 nearest codes that a search must return (0.95); measured on codes that are held out
      when the structure is built, at the first `save` or search with enough items, and again when they have doubled.
    - ``method``: ``ivf`` (IndexBinaryIVF) or ``hnsw`` (IndexBinaryHNSW: slower to build).
    - ``min_items``: with fewer items every search is exact (20,000; at least 100).
    - ``oversampling``: candidates of asymmetric scoring, as a multiple of the items returned (10).
    - ``embeddings``: an .npy file with embeddings for re-ranking; its row i belongs to the item with id i.

    The items are an exact index in the subfolder ``items``: additions, removals and saves are as safe as there, and
    radius searches are exact. The structure of FAISS can always be made again.
    """

    def __init__(self, place: str, exact: BinaryIndex) -> None:
        path, options = _options(place)
        quantizer = exact.quantizer
        embeddings = None if options["embeddings"] is None else map_embeddings(options["embeddings"])
        settings = Settings.of(exact.n_bits, quantizer, exact.keeps_embeddings, exact.metric)
        super().__init__(settings, quantizer, embeddings=embeddings, oversampling=options["oversampling"])
        self._place, self._options, self._exact = place, options, exact
        self._graph_path = Path(path) / _GRAPH
        self._graph: FaissGraph | None = None
        self._changing = threading.RLock()

    @classmethod
    def create(
        cls,
        place: str,
        n_bits: int | None = None,
        *,
        quantizer: Any = None,
        keep_embeddings: bool = False,
        metric: str = "cosine",
    ) -> Self:
        """Make an empty index; see `h2q.index.create_index`."""
        folder = Path(_options(place)[0])
        exact = BinaryIndex(n_bits, quantizer=quantizer, keep_embeddings=keep_embeddings, metric=metric)
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; open the index in it, or name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        exact.save(folder / _ITEMS)
        return cls(place, exact)

    @classmethod
    def open(cls, place: str) -> Self:
        """Open an index; see `h2q.index.open_index`."""
        folder = Path(_options(place)[0])
        if not (folder / _ITEMS).is_dir():
            raise FileNotFoundError(f"{folder} holds no index of this engine; make it with create_index")
        index = cls(place, BinaryIndex.open(folder / _ITEMS))
        graph = read_graph(index._graph_path, index._exact._state.generation)
        if graph is not None and graph.recall.target == index._options["recall"]:
            index._graph = graph
        return index

    @property
    def address(self) -> str:
        """Address of the index, with its options."""
        return f"faiss:{self._place}"

    @property
    def format(self) -> ItemFormat:
        """Kind of the ids and metadata columns, of the items in memory."""
        return self._read_format()

    @property
    def recall(self) -> Recall | None:
        """What was measured when the structure was built; None: there is none, every search is exact."""
        return None if self._graph is None else self._graph.recall

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all items, increasing; int64 of shape (n,)."""
        return self._exact.ids

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._exact)

    def __repr__(self) -> str:
        """Name the address, the bits, the number of items, and the measured recall."""
        recall = self.recall
        how = "exact" if recall is None else f"{recall.method}, recall@100 {recall.value:.3f} measured"
        return f"FaissIndex({self.address!r}, {self.n_bits} bits, {len(self)} items, {how})"

    def save(self) -> None:
        """Save the items, then the structure, which is built if there are enough items."""
        with self._changing:
            before = self._exact._state
            with self._exact.locked():
                if self._exact._state is not before:  # another process saved items
                    self._graph = None
                self._exact.save()
            graph = self._current_graph()
            if graph is not None and read_graph(self._graph_path, self._exact._state.generation) is None:
                write_graph(graph, self._graph_path, self._exact._state.generation)

    def close(self) -> None:
        """Release the mapped files without saving; the index cannot be used any more."""
        self._exact.close()
        self._graph = None

    def warm_up(self) -> None:
        """Load or compile the search kernels, and build the structure if there is none."""
        self._exact.warm_up()
        self._current_graph()

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
        """Return the k nearest items of each query among the candidates of the structure, nearest first.

        With `where`, `columns`, `n_bits` or `prefix` the search is exact; all arguments are those of
        `h2q.index.BinaryIndex.search`.
        """
        exact = {"n_bits": n_bits, "prefix": prefix, "shortlist": shortlist, "where": where, "columns": columns}
        if any(value is not None for value in exact.values()):
            return self._exact.search(queries, k, scoring=scoring, rerank=rerank, **exact)
        return super().search(queries, k, scoring=scoring, rerank=rerank)

    def search_radius(
        self, queries: Any, radius: int, *, limit: int | None = None, where: Any = None, columns: Any = None
    ) -> RadiusNeighbors:
        """Return all items within a Hamming distance of each query, exactly; see `h2q.index.BinaryIndex`."""
        return self._exact.search_radius(queries, radius, limit=limit, where=where, columns=columns)

    def _read_format(self) -> ItemFormat:
        return ItemFormat(self._exact.id_type, self._exact.metadata_schema)

    def _read_metadata(self, ids: NDArray[Any], names: Sequence[str]) -> Any:
        return self._exact.metadata(ids, names)

    def _store(
        self, columns: dict[str, NDArray[Any]], ids: NDArray[Any] | None, metadata: Any, *, replace: bool
    ) -> NDArray[Any]:
        store = self._exact._store
        with self._changing, store.changing:
            store.state, new = store.state.with_items(columns, ids, metadata, replacing=replace)
            if self._graph is not None:
                self._graph.add(columns["codes"], store.state.numbers(new))
        return new

    def _delete(self, ids: NDArray[Any]) -> None:
        with self._changing:
            numbers = self._exact._state.numbers(ids)
            self._exact.remove(ids)
            if self._graph is not None:
                self._graph.remove(numbers)

    def _present(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        return self._exact.contains(ids)

    def _read(self, column: str, ids: NDArray[Any]) -> NDArray[Any]:
        if column == "codes":
            return self._exact.codes(ids)
        scalars = column == "scalars"
        shape = (len(ids),) if scalars else (len(ids), self.settings.n_features or 0)
        result = np.empty(shape, np.uint8 if scalars else np.float32)
        state = self._exact._state
        gather(state.segments, column, state.known_numbers(ids), result)
        return result

    def _nearest(self, codes: NDArray[np.uint8], k: int, where: Condition | None) -> Neighbors:
        graph = self._current_graph()
        if graph is None or 2 * k > len(self):
            return self._exact.search(codes, k)
        with self._changing:
            rows, distances = graph.search(codes, k)
            numbers, state = graph.ids, self._exact._state
        ids = numbers.take(rows, mode="clip")  # a row of -1: there are fewer than k results
        if state.id_type == STRING:
            known, places = np.unique(ids, return_inverse=True)
            ids = strings_of(state.segments, known)[places.reshape(ids.shape)]
        if state.id_type == STRING or not graph.in_order:
            order = np.lexsort((ids, distances), axis=-1)
            ids, distances = np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1)
        short = rows[:, -1] < 0
        if short.any():
            exact = self._exact.search(codes[short], k)
            ids[short], distances[short] = exact.ids, exact.distances
        return Neighbors(ids, distances)

    def _within(
        self, codes: NDArray[np.uint8], radius: int, limit: int | None, where: Condition | None
    ) -> RadiusNeighbors:
        return self._exact.search_radius(codes, radius, limit=limit, where=where)

    def _current_graph(self) -> FaissGraph | None:
        """Return the structure of the items as they are; built when there are enough of them."""
        with self._changing:
            size, graph = len(self._exact), self._graph
            if size < max(self._options["min_items"], _FEWEST):
                return None
            if graph is None or len(graph.ids) > _GROWTH * max(size, 1) or size > _GROWTH * graph.recall.items:
                whole = join(self._exact._state.segments)
                target, method = self._options["recall"], self._options["method"]
                graph = build_graph(np.asarray(whole.codes), np.asarray(whole.ids), method=method, target=target)
                self._graph = graph
            return graph


def _options(place: str) -> tuple[str, dict[str, Any]]:
    """Return the folder and the options of an address, checked."""
    path, options, others = split_options(place, _OPTIONS, "faiss")
    if others:
        known = ", ".join(_OPTIONS)
        raise ValueError(f"the address has options that faiss does not have: {others}; it has: {known}")
    if options["method"] not in ("ivf", "hnsw"):
        raise ValueError(f"method in the address must be ivf or hnsw; got {options['method']!r}")
    if not 0 < options["recall"] <= 1:
        raise ValueError(f"recall in the address must be above 0 and at most 1; got {options['recall']}")
    return path, options
