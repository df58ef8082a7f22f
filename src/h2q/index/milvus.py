"""An index in a collection of Milvus: codes in a BINARY_VECTOR, compared by HAMMING.

Fields: ``id`` (the primary key), ``codes`` and, where the index has them, ``scalars`` and ``embeddings`` (an array of
floats). The description of the collection holds what the index is. Every change is an upsert or a deletion by id, so
that it may be sent again.
"""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from h2q.converters import from_milvus, to_milvus
from h2q.errors import require
from h2q.index.engine import EngineIndex, Settings, map_embeddings
from h2q.index.ids import missing_ids, taken_ids
from h2q.index.neighbors import Neighbors, RadiusNeighbors
from h2q.index.places import split_options
from h2q.index.retries import repeat
from h2q.quantization import load_quantizer

__all__ = ["MilvusIndex"]

T = TypeVar("T")

_OPTIONS = {
    "index": "flat", "lists": 1024, "probes": 32, "consistency": "Strong", "partition": None, "quantizer": None,
    "oversampling": 10, "embeddings": None, "timeout": 60.0, "retries": 4,
}  # fmt: skip
_TYPES = {"flat": "BIN_FLAT", "ivf": "BIN_IVF_FLAT"}
_NEXT_ID = "h2q.next_id"
_MOST = 16_384  # results of a search, in Milvus
_ROWS = 10_000  # of one request
_PLACE = re.compile(r"//([^/]+)/([A-Za-z_][A-Za-z0-9_]{0,200})")
# What a server that is down, starts or stops answers.
_UNAVAILABLE = re.compile(
    r"unavailable|not ready|not healthy|connect|timeout|timed out|deadline|channel|no available|node|stopped|closed|"
    r"not loaded|not fully loaded|abnormal",
    re.IGNORECASE,
)


class MilvusIndex(EngineIndex):
    """An index in a collection of Milvus; a change can be searched when its call returns.

    Made by `h2q.index.create_index` and opened by `h2q.index.open_index`, from an address such as
    ``milvus://host:19530/collection``. Options of the address:

    - ``index``: ``flat`` (BIN_FLAT, exact), or ``ivf`` (BIN_IVF_FLAT) with ``lists`` (1,024) of which a search visits
      ``probes`` (32).
    - ``partition``: a partition that is added to and searched; made if need be.
    - ``consistency``: level of reads: ``Strong``, ``Bounded``, ``Eventually`` (Strong).
    - ``quantizer``: file of the quantizer, whose fingerprint the collection holds; written by `create_index`.
    - ``oversampling``: candidates of asymmetric scoring, as a multiple of the items returned (10).
    - ``embeddings``: an .npy file with embeddings for re-ranking; its row i belongs to the item with id i.
    - ``timeout``: seconds to wait for an answer (60); ``retries``: how often to ask again (4).

    Additions without ids are counted on from a number in the properties of the collection: one program at a time may
    add them. A search returns at most 16,384 items.
    """

    def __init__(self, place: str, settings: Settings, quantizer: Any, server: "_Server") -> None:
        _, collection, options = _split(place)
        embeddings = None if options["embeddings"] is None else map_embeddings(options["embeddings"])
        super().__init__(settings, quantizer, embeddings=embeddings, oversampling=options["oversampling"])
        self._place, self._collection, self._options, self._server = place, collection, options, server
        self._partitions = [] if options["partition"] is None else [options["partition"]]
        self._adding = threading.RLock()
        self._next_id = 0

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
        settings = Settings.of(n_bits, quantizer, keep_embeddings, metric)
        host, collection, options = _split(place)
        server = _Server(host, options)
        with server:
            if server.run(lambda client, wait: client.has_collection(collection, timeout=wait)):
                raise FileExistsError(f"{server.name} already has a collection {collection}; name another one")
            if quantizer is not None and options["quantizer"] is not None:
                quantizer.save(options["quantizer"])
            server.run(lambda client, wait: _make(client, collection, settings, options, wait))
            return cls._opened(place, settings, quantizer, server)

    @classmethod
    def open(cls, place: str) -> Self:
        """Open an index; see `h2q.index.open_index`."""
        host, collection, options = _split(place)
        server = _Server(host, options)
        with server:
            if not server.run(lambda client, wait: client.has_collection(collection, timeout=wait)):
                raise FileNotFoundError(f"{server.name} has no collection {collection}; make it with create_index")
            text = server.run(lambda client, wait: client.describe_collection(collection, timeout=wait))["description"]
            settings = Settings.from_json(_decoded(text), f"the collection {collection}")
            index = cls._opened(place, settings, None, server)
            if options["quantizer"] is not None and Path(options["quantizer"]).exists():
                index.use_quantizer(load_quantizer(options["quantizer"]))
            return index

    @classmethod
    def _opened(cls, place: str, settings: Settings, quantizer: Any, server: "_Server") -> Self:
        index = cls(place, settings, quantizer, server)
        for partition in index._partitions:
            if not index._ask("has_partition", partition_name=partition):
                index._ask("create_partition", partition_name=partition)
        index._ask("load_collection")
        return index

    @property
    def address(self) -> str:
        """Address of the index, with its options."""
        return f"milvus:{self._place}"

    def __len__(self) -> int:
        """Return the number of items."""
        return int(self._query("", ["count(*)"])[0]["count(*)"])

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all items, increasing; int64 of shape (n,)."""
        return self._ids_from(0)

    def _ids_from(self, first: int) -> NDArray[np.int64]:
        """Return the ids that are not lower, increasing."""
        ids: list[int] = []
        while True:  # a query returns some of the items, by increasing id
            rows = self._query(f"id >= {ids[-1] + 1 if ids else first}", ["id"], limit=_MOST)
            ids += sorted(row["id"] for row in rows)
            if len(rows) < _MOST:
                return np.array(ids, np.int64)

    def save(self) -> None:
        """Write what the server holds in memory to its storage."""
        self._ask("flush")

    def close(self) -> None:
        """Close the connection; the index cannot be used any more."""
        self._server.close()

    def drop(self) -> None:
        """Delete the collection and all its items."""
        self._ask("drop_collection")

    def _store(
        self, columns: dict[str, NDArray[Any]], ids: NDArray[Any] | None, metadata: Any, *, replace: bool
    ) -> NDArray[Any]:
        self._refuse(metadata=metadata)
        with self._adding:
            next_id = max(int(self._ask("describe_collection")["properties"].get(_NEXT_ID, 0)), self._next_id)
            new = np.arange(next_id, next_id + len(columns["codes"])) if ids is None else ids
            taken = np.zeros(len(new), np.bool_) if replace else self._present(new)
            if taken.any() and ids is not None:
                raise taken_ids(new[taken])
            if taken.any():  # a server that was killed may have forgotten the number
                next_id = 1 + int(self._ids_from(next_id).max())
                new = np.arange(next_id, next_id + len(new))
            # Before the items: ids that were lost with a crash are skipped, never given twice.
            if int(new.max()) >= next_id:
                self._next_id = int(new.max()) + 1
                self._ask("alter_collection_properties", properties={_NEXT_ID: str(self._next_id)})
            rows = self._rows(columns, new)
            partition = {"partition_name": self._partitions[0]} if self._partitions else {}
            for start in range(0, len(rows), _ROWS):
                self._ask("upsert", data=rows[start : start + _ROWS], **partition)
        return new

    def _rows(self, columns: dict[str, NDArray[Any]], ids: NDArray[Any]) -> list[dict[str, Any]]:
        values: dict[str, list[Any]] = {"id": ids.tolist(), "codes": to_milvus(columns["codes"], self.n_bits)}
        if "scalars" in columns:
            values["scalars"] = columns["scalars"].tolist()
        if "embeddings" in columns:
            values["embeddings"] = columns["embeddings"].tolist()
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]

    def _delete(self, ids: NDArray[Any]) -> None:
        for start in range(0, len(ids), _ROWS):
            self._ask("delete", ids=ids[start : start + _ROWS].tolist())

    def _present(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        known = [row["id"] for part in _parts(ids) for row in self._query(f"id in {part}", ["id"])]
        return np.isin(ids, known)

    def _read(self, column: str, ids: NDArray[Any]) -> NDArray[Any]:
        values = {row["id"]: row for part in _parts(ids) for row in self._query(f"id in {part}", ["id", column])}
        missing = np.array([item not in values for item in ids.tolist()], np.bool_)
        if missing.any():
            raise missing_ids(ids[missing], len(ids))
        ordered = [values[item][column] for item in ids.tolist()]
        if column == "codes":
            return from_milvus(ordered, self.n_bits)
        if column == "scalars":
            return np.array(ordered, np.uint8)
        return np.array(ordered, np.float32).reshape(len(ids), self.settings.n_features or 0)

    def _nearest(self, codes: NDArray[np.uint8], k: int) -> Neighbors:
        if k > _MOST:
            raise ValueError(f"k must be at most {_MOST:,} here, candidates included, the limit of Milvus; got {k:,}")
        ids, distances = self._search_all(codes, k, {"nprobe": self._options["probes"]})
        lengths = {len(row) for row in ids}
        if lengths - {k}:  # an IVF may find too few in the lists that it visits
            ids, distances = self._search_all(codes, k, {"nprobe": self._options["lists"]})
        width = min([k, *(len(row) for row in ids)])
        return Neighbors(
            np.array([row[:width] for row in ids], np.int64).reshape(len(codes), -1 if len(codes) else k),
            np.array([row[:width] for row in distances], np.int32).reshape(len(codes), -1 if len(codes) else k),
        )

    def _within(self, codes: NDArray[np.uint8], radius: int, limit: int | None) -> RadiusNeighbors:
        # Milvus returns distances below its radius.
        ranges = {"radius": radius + 1, "range_filter": 0, "nprobe": self._options["lists"]}
        most = min(limit or _MOST, _MOST)
        ids, distances = self._search_all(codes, most, ranges)
        if limit is None and any(len(row) == _MOST for row in ids):
            raise ValueError(
                f"a query has {_MOST:,} items or more within {radius} bits, the limit of Milvus: set limit"
            )
        counts = [len(row) for row in ids]
        return RadiusNeighbors(
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            np.array([item for row in ids for item in row], np.int64),
            np.array([distance for row in distances for distance in row], np.int32),
        )

    def _search_all(
        self, codes: NDArray[np.uint8], k: int, parameters: dict[str, Any]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Return ids and distances of each code's neighbors, nearest first; ties go to the lower id."""
        if len(codes) == 0:
            return [], []
        results = self._ask(
            "search", data=to_milvus(codes, self.n_bits), limit=k, anns_field="codes",
            search_params={"metric_type": "HAMMING", "params": parameters},
            consistency_level=self._options["consistency"], partition_names=self._partitions or None,
        )  # fmt: skip
        pairs = [sorted((round(hit["distance"]), hit["id"]) for hit in hits) for hits in results]
        return [[item for _, item in row] for row in pairs], [[distance for distance, _ in row] for row in pairs]

    def _query(self, condition: str, fields: list[str], **options: Any) -> list[Any]:
        partitions = {"partition_names": self._partitions} if self._partitions else {}
        level = self._options["consistency"]
        rows = self._ask(
            "query", filter=condition, output_fields=fields, consistency_level=level, **partitions, **options
        )
        return list(rows)

    def _ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of the client on the collection."""

        def work(client: Any, wait: float) -> Any:
            try:
                return getattr(client, method)(self._collection, timeout=wait, **arguments)
            except self._server.failures as error:
                if "not loaded" in str(error):  # a server that was restarted need not remember
                    client.load_collection(self._collection, timeout=wait)
                raise

        return self._server.run(work)


class _Server:
    """A client of Milvus that is made again when the server was gone."""

    def __init__(self, host: str, options: dict[str, Any]) -> None:
        self._pymilvus: Any = require("pymilvus", "milvus")
        self._uri, self._timeout, self._retries = f"http://{host}", options["timeout"], options["retries"]
        self.name = f"Milvus at {host.rpartition('@')[2]}"
        self.failures: tuple[type[Exception], ...] = (
            self._pymilvus.MilvusException, require("grpc", "milvus").RpcError,
        )  # fmt: skip
        self._client: Any = None
        self._closed = False
        self._lock = threading.RLock()

    def run(self, work: Callable[[Any, float], T]) -> T:
        """Return ``work(client, timeout)``, called again when the server does not answer."""
        if self._closed:
            raise ValueError("the index is closed; open it again")

        def attempt() -> T:
            try:
                with self._lock:
                    if self._client is None:
                        self._client = self._pymilvus.MilvusClient(uri=self._uri, timeout=self._timeout)
                return work(self._client, self._timeout)
            except self.failures:
                self._drop()
                raise

        return repeat(
            attempt, self.failures, retries=self._retries, place=self.name,
            again=lambda error: _UNAVAILABLE.search(str(error)) is not None,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        """Close the connection if the block raised."""
        if kind is not None:
            self.close()

    def close(self) -> None:
        """Close the connection for good."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()


def _split(place: str) -> tuple[str, str, dict[str, Any]]:
    """Return host, collection and options of an address, checked."""
    path, options, others = split_options(place, _OPTIONS, "milvus")
    matched = _PLACE.fullmatch(path)
    if matched is None:
        raise ValueError(f"the address must be milvus://host:port/collection; got milvus:{path}")
    if others:
        raise ValueError(f"the address has options that milvus does not have: {others}; it has: {', '.join(_OPTIONS)}")
    if options["index"] not in _TYPES:
        raise ValueError(f"index in the address must be flat or ivf; got {options['index']!r}")
    return matched[1], matched[2], options


def _make(client: Any, collection: str, settings: Settings, options: dict[str, Any], wait: float) -> None:
    """Make a collection; one that an attempt without an answer made is left."""
    from pymilvus import DataType

    if client.has_collection(collection, timeout=wait):
        return
    schema = client.create_schema(auto_id=False, description=json.dumps(settings.to_json()))
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("codes", DataType.BINARY_VECTOR, dim=8 * -(-settings.n_bits // 8))
    if settings.has_scalars:
        schema.add_field("scalars", DataType.INT16)
    if settings.keep_embeddings:
        schema.add_field("embeddings", DataType.ARRAY, element_type=DataType.FLOAT, max_capacity=settings.n_features)
    client.create_collection(collection, schema=schema, properties={_NEXT_ID: "0"}, timeout=wait)
    parameters = client.prepare_index_params()
    parameters.add_index(
        "codes", index_type=_TYPES[options["index"]], metric_type="HAMMING", params={"nlist": options["lists"]}
    )
    client.create_index(collection, parameters, timeout=wait)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _parts(ids: NDArray[Any]) -> list[list[Any]]:
    return [ids[start : start + _MOST].tolist() for start in range(0, len(ids), _MOST)]
