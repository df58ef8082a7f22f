"""An index in a collection of Milvus: codes in a BINARY_VECTOR, compared by HAMMING.

Fields: ``id`` (the primary key), ``codes``, where the index has them ``scalars`` and ``embeddings`` (an array of
floats), and the metadata in the dynamic field. The description of the collection holds what the index is, its
properties the next id and the types of the metadata. Every change is an upsert or a deletion by id, so that it may be
sent again.
"""

import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.converters import from_milvus
from h2q.converters import to_milvus as to_milvus_codes
from h2q.index.arrow_filters import matching_rows
from h2q.index.engine import EngineIndex, map_embeddings
from h2q.index.filters import Condition
from h2q.index.ids import INTEGER, STRING, id_array, taken_ids, values_in_order
from h2q.index.milvus_collection import (
    INDEX_TYPES,
    LONGEST_ID,
    METADATA,
    NEXT_ID,
    format_of,
    make_collection,
    metadata_columns,
    metadata_of_rows,
    rows_of_items,
)
from h2q.index.milvus_connection import MilvusConnection
from h2q.index.milvus_filters import ids_in, to_milvus
from h2q.index.neighbors import Neighbors, RadiusNeighbors
from h2q.index.places import split_options
from h2q.index.settings import ItemFormat, Settings
from h2q.index.tables import encode_schema
from h2q.quantization import load_quantizer

__all__ = ["MilvusIndex"]

_OPTIONS = {
    "index": "flat", "lists": 1024, "probes": 32, "consistency": "Strong", "partition": None, "quantizer": None,
    "oversampling": 10, "embeddings": None, "timeout": 60.0, "retries": 4,
}  # fmt: skip
_MOST = 16_384  # results of a search, in Milvus
_ROWS = 10_000  # of one request
_PLACE = re.compile(r"//([^/]+)/([A-Za-z_][A-Za-z0-9_]{0,200})")


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

    Items that are added without ids get the next id, which is stored in the properties of the collection: only one
    program at a time may add them. A search returns at most 16,384 items.

    Metadata are stored in the dynamic field, at most 65,536 bytes of JSON for each item. Dates and times are stored as
    whole numbers, in the unit of Arrow's type since 1970; decimals, bytes, lists and structures as texts. A column
    whose name is no identifier is stored as ``column_`` and its position. Milvus cannot evaluate ``ilike``, patterns
    other than ``prefix%``, comparisons of two columns, and decimals: these parts of a filter are evaluated by Arrow, on
    the metadata of the items that the other parts select. The first string id creates the collection, which is empty
    then, again with a primary key of texts.
    """

    def __init__(self, place: str, settings: Settings, quantizer: Any, server: MilvusConnection) -> None:
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
        server = MilvusConnection(host, options["timeout"], options["retries"])
        with server:
            if server.run(lambda client, wait: client.has_collection(collection, timeout=wait)):
                raise FileExistsError(f"{server.name} already has a collection {collection}; name another one")
            if quantizer is not None and options["quantizer"] is not None:
                quantizer.save(options["quantizer"])
            server.run(lambda client, wait: make_collection(client, collection, settings, options, wait))
            return cls._opened(place, settings, quantizer, server)

    @classmethod
    def open(cls, place: str) -> Self:
        """Open an index; see `h2q.index.open_index`."""
        host, collection, options = _split(place)
        server = MilvusConnection(host, options["timeout"], options["retries"])
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
    def _opened(cls, place: str, settings: Settings, quantizer: Any, server: MilvusConnection) -> Self:
        index = cls(place, settings, quantizer, server)
        index._load()
        return index

    def _load(self) -> None:
        """Load the collection and make the partition, so that items can be added and searched."""
        for partition in self._partitions:
            if not self._ask("has_partition", partition_name=partition):
                self._ask("create_partition", partition_name=partition)
        self._ask("load_collection")

    @property
    def address(self) -> str:
        """Address of the index, with its options."""
        return f"milvus:{self._place}"

    def __len__(self) -> int:
        """Return the number of items."""
        return int(self._query("", ["count(*)"])[0]["count(*)"])

    @property
    def ids(self) -> NDArray[Any]:
        """Ids of all items, increasing; int64, or strings (dtype object), of shape (n,)."""
        return id_array([row["id"] for row in self._query_all("", ["id"])])

    def _query_all(self, condition: str, fields: list[str], first: int = 0) -> list[Any]:
        """Return rows of all items that fulfil a condition, by increasing id from the first on."""
        bound = 'id != ""' if self.id_type == STRING else f"id >= {first}"
        rows: list[Any] = []
        while True:  # a query returns some of the items, those with the lowest ids
            limited = f"({bound}) and {condition}" if condition else bound
            part = self._query(limited, fields, limit=_MOST)
            rows += sorted(part, key=lambda row: row["id"])
            if len(part) < _MOST:
                return rows
            bound = f"id > {json.dumps(rows[-1]['id'], ensure_ascii=False)}"

    def save(self) -> None:
        """Write what the server holds in memory to its storage."""
        self._ask("flush")

    def close(self) -> None:
        """Close the connection; the index cannot be used any more."""
        self._server.close()

    def drop(self) -> None:
        """Delete the collection and all its items."""
        self._ask("drop_collection")

    def _read_format(self) -> ItemFormat:
        return format_of(self._ask("describe_collection"))

    def _check_ids(self, ids: Any, n: int | None = None) -> NDArray[Any]:
        checked = super()._check_ids(ids, n)
        long = [text for text in checked if len(text.encode()) > LONGEST_ID] if checked.dtype == object else []
        if long:
            raise ValueError(f"ids of Milvus have at most {LONGEST_ID:,} bytes; got {long[0][:20]!r}...")
        return checked

    def _store(
        self, columns: dict[str, NDArray[Any]], ids: NDArray[Any] | None, metadata: Any, *, replace: bool
    ) -> NDArray[Any]:
        with self._adding:
            described = self._ask("describe_collection")
            next_id = max(int(described["properties"].get(NEXT_ID, 0)), self._next_id)
            before = format_of(described)
            after, new, table = before.fit(len(columns["codes"]), ids, metadata, next_id)
            if after.id_type == STRING and before.id_type is None:
                self._take_strings()
            taken = np.zeros(len(new), np.bool_) if replace else self._present(new)
            if taken.any() and ids is not None:
                raise taken_ids(new[taken])
            if taken.any():  # a server that was killed may have forgotten the number
                next_id = 1 + self._query_all("", ["id"], next_id)[-1]["id"]
                new = np.arange(next_id, next_id + len(new))
            rows = rows_of_items(columns, self.n_bits, new, table)
            # Before the items: ids that were lost with a crash are skipped, never given twice.
            changes = {} if after.schema is before.schema else {METADATA: encode_schema(after.schema)}
            if after.id_type == INTEGER and int(new.max()) >= next_id:
                self._next_id = int(new.max()) + 1
                changes[NEXT_ID] = str(self._next_id)
            if changes:
                self._ask("alter_collection_properties", properties=changes)
            self._upsert(rows)
        return new

    def _upsert(self, rows: list[dict[str, Any]]) -> None:
        partition = {"partition_name": self._partitions[0]} if self._partitions else {}
        for start in range(0, len(rows), _ROWS):
            try:
                self._ask("upsert", data=rows[start : start + _ROWS], **partition)
            except self._server.failures as error:
                if "exceeds max length" not in str(error):
                    raise
                raise ValueError(f"metadata of an item are longer than 65,536 bytes of JSON: {error}") from error

    def _take_strings(self) -> None:
        """Make the collection, to which nothing was added yet, again with ids that are strings."""
        self._ask("drop_collection")
        self._server.run(
            lambda client, wait: make_collection(client, self._collection, self.settings, self._options, wait, STRING)
        )
        self._load()

    def _delete(self, ids: NDArray[Any]) -> None:
        for part in _parts(ids):
            self._ask("delete", filter=ids_in(part))

    def _present(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        known = {row["id"] for part in _parts(ids) for row in self._query(ids_in(part), ["id"])}
        return np.array([item in known for item in ids.tolist()], np.bool_)

    def _read(self, column: str, ids: NDArray[Any]) -> NDArray[Any]:
        ordered = [row[column] for row in self._rows_of(ids, column)]
        if column == "codes":
            return from_milvus(ordered, self.n_bits)
        if column == "scalars":
            return np.array(ordered, np.uint8)
        return np.array(ordered, np.float32).reshape(len(ids), self.settings.n_features or 0)

    def _read_metadata(self, ids: NDArray[Any], names: Sequence[str]) -> Any:
        return metadata_of_rows(self._rows_of(ids, "$meta"), self.metadata_schema, names)

    def _rows_of(self, ids: NDArray[Any], field: str) -> list[dict[str, Any]]:
        """Return a field of these items, in their order."""
        rows = {row["id"]: row for part in _parts(ids) for row in self._query(ids_in(part), ["id", field])}
        return values_in_order(rows, ids)

    def _expression(self, where: Condition | None) -> str:
        """Return a condition as Milvus reads it; what it cannot say is evaluated here and becomes a list of ids."""
        if where is None:
            return ""
        schema = self.metadata_schema
        expression = to_milvus(where, metadata_columns(schema))
        if expression.exact:
            return expression.text
        rows = self._query_all(expression.text, ["id", "$meta"])
        matches = matching_rows(metadata_of_rows(rows, schema, schema.names), where)
        return ids_in([row["id"] for row, match in zip(rows, matches, strict=True) if match])

    def _nearest(self, codes: NDArray[np.uint8], k: int, where: Condition | None) -> Neighbors:
        if k > _MOST:
            k = min(k, max(1, len(self)))
        if k > _MOST:
            raise ValueError(f"k must be at most {_MOST:,} here, candidates included, the limit of Milvus; got {k:,}")
        expression = self._expression(where)
        ids, distances = self._search_all(codes, k, {"nprobe": self._options["probes"]}, expression)
        lengths = {len(row) for row in ids}
        if lengths - {k} and self._options["index"] == "ivf":  # too few items in the lists that were visited
            ids, distances = self._search_all(codes, k, {"nprobe": self._options["lists"]}, expression)
        width = min([k, *(len(row) for row in ids)])
        return Neighbors(
            id_array([item for row in ids for item in row[:width]]).reshape(len(codes), width),
            np.array([row[:width] for row in distances], np.int32).reshape(len(codes), width),
        )

    def _within(
        self, codes: NDArray[np.uint8], radius: int, limit: int | None, where: Condition | None
    ) -> RadiusNeighbors:
        # Milvus returns distances below its radius.
        ranges = {"radius": radius + 1, "range_filter": 0, "nprobe": self._options["lists"]}
        most = min(limit or _MOST, _MOST)
        ids, distances = self._search_all(codes, most, ranges, self._expression(where))
        if (limit is None or limit > _MOST) and any(len(row) == _MOST for row in ids):
            raise ValueError(
                f"a query has {_MOST:,} items or more within {radius} bits, the most that Milvus returns: set limit to "
                f"at most {_MOST:,}"
            )
        counts = [len(row) for row in ids]
        return RadiusNeighbors(
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            id_array([item for row in ids for item in row]),
            np.array([distance for row in distances for distance in row], np.int32),
        )

    def _search_all(
        self, codes: NDArray[np.uint8], k: int, parameters: dict[str, Any], expression: str
    ) -> tuple[list[list[Any]], list[list[int]]]:
        """Return ids and distances of each code's neighbors, nearest first; ties go to the lower id."""
        if len(codes) == 0:
            return [], []
        results = self._ask(
            "search", data=to_milvus_codes(codes, self.n_bits), limit=k, anns_field="codes", filter=expression,
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


def _split(place: str) -> tuple[str, str, dict[str, Any]]:
    """Return host, collection and options of an address, checked."""
    path, options, others = split_options(place, _OPTIONS, "milvus")
    matched = _PLACE.fullmatch(path)
    if matched is None:
        raise ValueError(f"the address must be milvus://host:port/collection; got milvus:{path}")
    if others:
        raise ValueError(f"the address has options that milvus does not have: {others}; it has: {', '.join(_OPTIONS)}")
    if options["index"] not in INDEX_TYPES:
        hint = ": Milvus 2.3 takes an HNSW of binary vectors, but never builds it" if options["index"] == "hnsw" else ""
        raise ValueError(f"index in the address must be flat or ivf; got {options['index']!r}{hint}")
    return matched[1], matched[2], options


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _parts(ids: NDArray[Any]) -> list[list[Any]]:
    return [ids[start : start + _MOST].tolist() for start in range(0, len(ids), _MOST)]
