"""An index in PostgreSQL with pgvector: codes in a column ``bit(n)``, compared by ``<~>``.

The table holds ``id``, ``codes``, where the index has them ``scalars`` and ``embeddings``, and the metadata columns
under their names. A second table with the suffix ``_h2q`` holds what the index is: settings, the quantizer, the next
id, the kind of the ids, the types of the metadata; a third one, ``_h2q_writes``, remembers which additions were
committed, so that one whose answer was lost is never made twice.
"""

import json
import re
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from h2q.converters import from_pgvector_binary, to_pgvector
from h2q.index import pg_copy
from h2q.index.engine import EngineIndex, map_embeddings
from h2q.index.filters import Condition
from h2q.index.ids import MAX_ID, STRING, id_array, taken_ids, values_in_order
from h2q.index.neighbors import Neighbors, RadiusNeighbors
from h2q.index.pg_connection import PgConnection
from h2q.index.pg_filters import TYPES, fits_postgresql, quoted, refuse_nul, to_sql
from h2q.index.places import split_options
from h2q.index.plain import TEXT, PlainColumn, from_plain, plain_columns, to_plain
from h2q.index.settings import ItemFormat, Settings
from h2q.index.tables import decode_schema, encode_schema
from h2q.quantization import load_quantizer

__all__ = ["PostgresIndex"]

_OPTIONS = {
    "table": "h2q", "index": "hnsw", "m": 16, "ef_construction": 64, "ef_search": 100, "oversampling": 10,
    "embeddings": None, "timeout": 60.0, "retries": 4,
}  # fmt: skip
_MAX_EF = 1000  # of pgvector
_OWN_COLUMNS = ("id", "codes", "scalars", "embeddings", "distance")
_TABLE = re.compile(r"[a-z_][a-z0-9_]{0,40}")


class PostgresIndex(EngineIndex):
    """An index in a table of PostgreSQL; every change is durable when its call returns.

    Made by `h2q.index.create_index` and opened by `h2q.index.open_index`, from an address such as
    ``postgresql://user@host:5432/database?table=items``. Options of the address:

    - ``table``: name of the table (h2q).
    - ``index``: ``hnsw``, built by `save` and then kept by the server, or ``none``: every search is exact.
    - ``m``, ``ef_construction``, ``ef_search``: of the HNSW graph (16, 64, 100).
    - ``oversampling``: candidates of asymmetric scoring, as a multiple of the items returned (10).
    - ``embeddings``: an .npy file with embeddings for re-ranking; its row i belongs to the item with id i.
    - ``timeout``: seconds to wait for an answer (60); ``retries``: how often to ask again (4).

    All others go to PostgreSQL, such as ``sslmode``.

    Metadata columns keep their names, and have types of PostgreSQL. Dates and times are stored as whole numbers, in the
    unit of Arrow's type since 1970; lists and structures as bytes. A column whose name PostgreSQL cannot hold is stored
    as ``column_`` and its position. The first string id changes the type of the column ``id`` to text.
    """

    def __init__(self, place: str, settings: Settings, quantizer: Any, server: PgConnection) -> None:
        options = _options(place)
        embeddings = None if options["embeddings"] is None else map_embeddings(options["embeddings"])
        super().__init__(settings, quantizer, embeddings=embeddings, oversampling=options["oversampling"])
        self._place = place
        self._options = options
        self._server = server
        self._table = options["table"]
        self._items = quoted(self._table)  # it may be a word of SQL

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
        server, table = _connect(place), _options(place)["table"]
        columns = [f"codes bit({settings.n_bits}) not null"]
        columns += ["scalars smallint not null"] if settings.has_scalars else []
        columns += [f"embeddings vector({settings.n_features}) not null"] if keep_embeddings else []

        def work(connection: Any) -> None:
            if connection.execute("select to_regclass(%s)", [f"{table}_h2q"]).fetchone()[0] is not None:
                raise FileExistsError(f"{server.name} already has an index in the table {table}; name another table")
            if connection.execute("select 1 from pg_extension where extname = 'vector'").fetchone() is None:
                connection.execute("create extension vector")
            connection.execute(f"create table {quoted(table)} (id bigint primary key, {', '.join(columns)})")
            connection.execute(
                f"create table {table}_h2q ("
                "settings jsonb, quantizer bytea, next_id bigint, id_type text, metadata text)"
            )
            connection.execute(f"create table {table}_h2q_writes (token uuid primary key, at timestamptz)")
            connection.execute(
                f"insert into {table}_h2q values (%s, %s, 0, null, null)",
                [json.dumps(settings.to_json()), _saved(quantizer)],
            )

        with server:
            server.run(work)
            return cls(place, settings, quantizer, server)

    @classmethod
    def open(cls, place: str) -> Self:
        """Open an index; see `h2q.index.open_index`."""
        server, table = _connect(place), _options(place)["table"]

        def work(connection: Any) -> Any:
            if connection.execute("select to_regclass(%s)", [f"{table}_h2q"]).fetchone()[0] is None:
                return None
            return connection.execute(f"select settings, quantizer from {table}_h2q").fetchone()

        with server:
            row = server.run(work)
            if row is None:
                raise FileNotFoundError(f"{server.name} has no index in a table {table}; make it with create_index")
            settings = Settings.from_json(row[0], f"the table {table}")
            return cls(place, settings, _loaded(row[1]), server)

    @property
    def address(self) -> str:
        """Address of the index, with its options."""
        return f"postgresql:{self._place}"

    def __len__(self) -> int:
        """Return the number of items."""
        return int(self._server.rows(f"select count(*) from {self._items}")[0][0])

    @property
    def ids(self) -> NDArray[Any]:
        """Ids of all items, increasing; int64, or strings (dtype object), of shape (n,)."""
        return id_array([row[0] for row in self._server.rows(f"select id from {self._items} order by id")])

    def save(self) -> None:
        """Build the HNSW graph, if the index has one; all items are already durable."""
        if self._options["index"] == "none":
            return

        def work(connection: Any) -> None:
            connection.execute(
                f"create index if not exists {self._table}_h2q_hnsw on {self._items} using hnsw "
                f"(codes bit_hamming_ops) with (m = {self._options['m']}, "
                f"ef_construction = {self._options['ef_construction']})"
            )
            connection.execute(f"analyze {self._items}")

        self._server.run(work, patient=True)

    def close(self) -> None:
        """Close the connection; the index cannot be used any more."""
        self._server.close()

    def drop(self) -> None:
        """Delete the index and all its items from the database."""
        for table in (self._items, f"{self._table}_h2q", f"{self._table}_h2q_writes"):
            self._server.rows(f"drop table if exists {table}")

    def _read_format(self) -> ItemFormat:
        return _format_of(self._server.rows(f"select id_type, metadata from {self._table}_h2q")[0])

    def _check_ids(self, ids: Any, n: int | None = None) -> NDArray[Any]:
        checked = super()._check_ids(ids, n)
        if checked.dtype == object:
            for text in checked:
                refuse_nul(text, "ids")
        return checked

    def _columns(self, schema: Any) -> dict[str, PlainColumn]:
        """Return the metadata columns in the table."""
        return plain_columns(schema, _OWN_COLUMNS, fits_postgresql)

    def _store(
        self, columns: dict[str, NDArray[Any]], ids: NDArray[Any] | None, metadata: Any, *, replace: bool
    ) -> NDArray[Any]:
        token = uuid.uuid4()
        chosen: list[NDArray[Any]] = [] if ids is None else [ids]

        def work(connection: Any) -> NDArray[Any]:
            execute = connection.execute
            # The row is locked until the end: additions take turns.
            known = execute(f"select id_type, metadata, next_id from {self._table}_h2q for update").fetchone()
            # An attempt whose answer was lost may have been committed, at the latest while this one waited.
            if chosen and execute(f"select 1 from {self._table}_h2q_writes where token = %s", [token]).fetchone():
                return chosen[-1]
            new, table = self._fit(connection, known, len(columns["codes"]), ids, metadata)
            chosen.append(new)
            self._copy(connection, columns, new, table, replace=replace)
            execute(f"delete from {self._table}_h2q_writes where at < now() - interval '1 day'")
            execute(f"insert into {self._table}_h2q_writes values (%s, now())", [token])
            return new

        return self._server.run(work)

    def _fit(
        self, connection: Any, known: Any, n: int, ids: NDArray[Any] | None, metadata: Any
    ) -> tuple[NDArray[Any], Any]:
        """Change the table to what new items need; return their ids and their metadata."""
        before = _format_of(known)
        after, new, table = before.fit(n, ids, metadata, known[2])
        if after.id_type == STRING and before.id_type is None:
            connection.execute(f"alter table {self._items} alter column id type {TYPES[TEXT]} using id::text")
        if after.schema is not None and before.schema is None:
            added = [f"add column {quoted(c.stored)} {TYPES[c.kind]}" for c in self._columns(after.schema).values()]
            connection.execute(f"alter table {self._items} {', '.join(added)}")
        next_id = known[2] if after.id_type == STRING else max(known[2], min(int(new.max()) + 1, MAX_ID))
        schema = None if after.schema is None else encode_schema(after.schema)
        connection.execute(
            f"update {self._table}_h2q set next_id = %s, id_type = %s, metadata = %s", [next_id, after.id_type, schema]
        )
        return new, table

    def _copy(
        self, connection: Any, columns: dict[str, NDArray[Any]], ids: NDArray[Any], table: Any, *, replace: bool
    ) -> None:
        """Copy rows, through a temporary table if they may replace others."""
        as_text = ids.dtype == object
        fields = [pg_copy.plain_field(ids.tolist(), TEXT) if as_text else pg_copy.integer_field(ids)]
        fields.append(pg_copy.bits_field(columns["codes"], self.n_bits))
        if "scalars" in columns:
            fields.append(pg_copy.integer_field(columns["scalars"], 2))
        if "embeddings" in columns:
            fields.append(pg_copy.vector_field(columns["embeddings"]))
        described = self._columns(None if table is None else table.schema)
        fields += [pg_copy.plain_field(to_plain(table[c.name], c), c.kind) for c in described.values()]
        stored = ["id", *columns, *(quoted(column.stored) for column in described.values())]
        names = ", ".join(stored)
        target = self._items
        if replace:
            target = f"{self._table}_h2q_new"
            connection.execute(f"create temporary table {target} (like {self._items}) on commit drop")
        else:
            taken = self._taken(connection, ids)
            if taken.any():
                raise taken_ids(ids[taken])
        with connection.cursor().copy(f"copy {target} ({names}) from stdin (format binary)") as copy:
            copy.write(pg_copy.binary_rows(fields))
        if replace:
            # All columns: an item that comes without metadata keeps none.
            every = connection.execute(f"select * from {target} limit 0").description
            changes = ", ".join(f"{quoted(c.name)} = excluded.{quoted(c.name)}" for c in every if c.name != "id")
            connection.execute(
                f"insert into {self._items} select * from {target} on conflict (id) do update set {changes}"
            )

    def _taken(self, connection: Any, ids: NDArray[Any]) -> NDArray[np.bool_]:
        rows = connection.execute(f"select id from {self._items} where id = any(%s)", [ids.tolist()]).fetchall()
        return np.isin(ids, [row[0] for row in rows])

    def _present(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        return self._server.run(lambda connection: self._taken(connection, ids))

    def _delete(self, ids: NDArray[Any]) -> None:
        self._server.rows(f"delete from {self._items} where id = any(%s)", [ids.tolist()])

    def _read(self, column: str, ids: NDArray[Any]) -> NDArray[Any]:
        (values,) = self._values([column], ids)
        if column == "codes":
            return from_pgvector_binary(values, self.n_bits)
        if column == "scalars":
            return np.array(values, np.uint8)
        return pg_copy.vectors_of_bytes(values, cast(int, self.settings.n_features))

    def _read_metadata(self, ids: NDArray[Any], names: Sequence[str]) -> Any:
        import pyarrow as pa

        columns = [self._columns(self.metadata_schema)[name] for name in names]
        values = self._values([quoted(column.stored) for column in columns], ids)
        return pa.table({c.name: from_plain(of_column, c) for c, of_column in zip(columns, values, strict=True)})

    def _values(self, columns: Sequence[str], ids: NDArray[Any]) -> list[list[Any]]:
        """Return the values of columns for these items, in their order."""
        statement = f"select {', '.join(['id', *columns])} from {self._items} where id = any(%s)"
        rows = {row[0]: row[1:] for row in self._server.rows(statement, [ids.tolist()], binary=True)}
        ordered = values_in_order(rows, ids)
        return [list(values) for values in zip(*ordered, strict=True)] if ordered else [[] for _ in columns]

    def _nearest(self, codes: NDArray[np.uint8], k: int, where: Condition | None) -> Neighbors:
        clauses, parameters = self._where([], where)
        nearest = f"{clauses} order by codes <~> q.code limit {k}"
        approximate = self._options["index"] != "none"
        counts, ids, distances = self._scan(codes, nearest, parameters, k if approximate else None)
        starts, short = np.cumsum(counts) - counts, counts < k
        if approximate and short.any():
            # The graph returned too few items for some queries: these are searched exactly.
            exact_counts, exact_ids, exact_distances = self._scan(codes[short], nearest, parameters, None)
            starts[short] = len(ids) + np.cumsum(exact_counts) - exact_counts
            counts[short] = exact_counts
            ids, distances = np.concatenate([ids, exact_ids]), np.concatenate([distances, exact_distances])
        places = starts[:, None] + np.arange(counts.min(initial=k))
        return Neighbors(ids[places], distances[places])

    def _within(
        self, codes: NDArray[np.uint8], radius: int, limit: int | None, where: Condition | None
    ) -> RadiusNeighbors:
        clauses, parameters = self._where([f"codes <~> q.code <= {radius}"], where)
        rest = "" if limit is None else f" order by codes <~> q.code limit {limit}"
        counts, ids, distances = self._scan(codes, clauses + rest, parameters, None)
        return RadiusNeighbors(np.concatenate([[0], np.cumsum(counts)]), ids, distances)

    def _where(self, conditions: list[str], where: Condition | None) -> tuple[str, list[Any]]:
        """Return a clause of SQL with conditions and that of a search, and its parameters."""
        parameters: list[Any] = []
        if where is not None:
            text, parameters = to_sql(where, self._columns(self.metadata_schema))
            conditions = [*conditions, text]
        return f"where {' and '.join(conditions)}" if conditions else "", parameters

    def _scan(
        self, codes: NDArray[np.uint8], clauses: str, parameters: list[Any], candidates: int | None
    ) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int32]]:
        """Return counts, ids and distances of the items that a query selects for each code; None: without the graph."""
        if len(codes) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32)
        statement = (
            "select q.number, array_agg(item.id), array_agg(distance) "
            f"from unnest(%s::bit({self.n_bits})[]) with ordinality q(code, number) cross join lateral "
            f"(select id, (codes <~> q.code)::int distance from {self._items} stored {clauses}) item "
            "group by q.number order by q.number"
        )
        # An array of bit(n) in binary would need the type's number; as text it is short enough.
        texts = "{" + ",".join(to_pgvector(codes, self.n_bits)) + "}"

        def work(connection: Any) -> Any:
            if candidates is None:
                connection.execute("set local enable_indexscan = off")
            else:
                ef = min(max(self._options["ef_search"], candidates), _MAX_EF)
                connection.execute(f"set local hnsw.ef_search = {ef}")
                connection.execute("set local hnsw.iterative_scan = strict_order")
            return connection.cursor(binary=True).execute(statement, [texts, *parameters]).fetchall()

        rows = self._server.run(work)
        counts = np.zeros(len(codes), np.int64)
        counts[[row[0] - 1 for row in rows]] = [len(row[1]) for row in rows]
        ids = id_array([item for row in rows for item in row[1]])
        distances = np.array([distance for row in rows for distance in row[2]], np.int32)
        order = np.lexsort((ids, distances, np.repeat(np.arange(len(codes)), counts)))
        return counts, ids[order], distances[order]


def _format_of(row: Any) -> ItemFormat:
    """Return the format that a row of settings holds."""
    return ItemFormat(row[0], None if row[1] is None else decode_schema(row[1]))


def _options(place: str) -> dict[str, Any]:
    """Return the options of an address, checked."""
    _, options, _ = split_options(place, _OPTIONS, "postgresql")
    if not _TABLE.fullmatch(options["table"]):
        raise ValueError(
            f"table in the address must be at most 41 small letters, digits and underscores; got {options['table']!r}"
        )
    if options["index"] not in ("hnsw", "none"):
        raise ValueError(f"index in the address must be hnsw or none; got {options['index']!r}")
    return options


def _connect(place: str) -> PgConnection:
    path, options, others = split_options(place, _OPTIONS, "postgresql")
    return PgConnection(f"postgresql:{path}" + (f"?{others}" if others else ""), options["timeout"], options["retries"])


def _saved(quantizer: Any) -> bytes | None:
    """Return the file that a quantizer saves."""
    if quantizer is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantizer.safetensors"
        quantizer.save(path)
        return path.read_bytes()


def _loaded(content: bytes | None) -> Any:
    """Return the quantizer in a file's bytes."""
    if content is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantizer.safetensors"
        path.write_bytes(content)
        return load_quantizer(path)
