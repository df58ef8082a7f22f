"""Texts in a file, indexed by what they mean: the other columns of the file are metadata."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from h2q.collections.collection import Collection, EmbeddedPart, Listing
from h2q.files.tables import FileRows, read_rows
from h2q.index import Neighbors
from h2q.index.metadata import RESERVED
from h2q.integrations.sentence_transformers import embed_texts, load_text_model

__all__ = ["TextCollection"]

_HASH = "_hash"
_BLOCK = 256  # texts between two steps of the progress bar


@dataclass(frozen=True)
class _Rows(Listing):
    """The rows of a file that can be items, and the row of the table by id."""

    table: Any = None
    places: Mapping[Any, int] = field(default_factory=dict)


class TextCollection(Collection[_Rows]):
    """An index of the texts in a file.

    Parameters
    ----------
    path : Path
        Where the collection is stored, a folder; made by the first update.
    file : Path, optional
        The file of the texts: .parquet, .csv, .jsonl or .txt (a text a line). Needed before the first update, known
        afterwards.
    column : str, optional
        Column of the texts. Default: the collection's, at first "text".
    ids_column : str, optional
        Column of the ids, whole numbers or strings. Default: the collection's, at first the numbers of the rows from
        0; with these, a row that is inserted makes all rows after it changed ones.
    model : str, optional
        Name or folder of a sentence-transformers model. Default: the collection's, at first "all-MiniLM-L6-v2", which
        the extra ``texts`` brings.

    Raises
    ------
    FileNotFoundError
        If there is no collection, and no file is given.
    ValueError
        If the collection was made with other columns or another model.

    Notes
    -----
    All columns but that of the ids are metadata; one that is called id, query, rank or distance, which are columns of
    results, gets an underscore behind. A row counts as changed if any column changed.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "notes.txt").write_text("A cat sleeps.\\nThe train is late.\\nDogs bark at night.\\n")
    >>> collection = TextCollection(folder / "notes.h2q", folder / "notes.txt")
    >>> collection.update().added
    3
    >>> int(collection.search("a kitten is napping", k=1).ids[0, 0])
    0
    """

    kind, command = "texts", "h2q texts index"
    state_columns = (_HASH,)
    defaults = {"column": "text", "ids_column": None, "model": "all-MiniLM-L6-v2"}  # noqa: RUF012
    max_bits = 256

    def __init__(
        self,
        path: Path,
        file: Path | None = None,
        *,
        column: str | None = None,
        ids_column: str | None = None,
        model: str | None = None,
    ) -> None:
        super().__init__(path, file, column=column, ids_column=ids_column, model=model)

    @property
    def column(self) -> str:
        """Metadata column of the texts."""
        return _free_name(self._settings["column"])

    def search(self, query: str, k: int = 10, *, where: str | None = None) -> Neighbors:
        """Return the k texts nearest to a query in meaning: ids, 1 - cosine, and all columns.

        Raises
        ------
        TypeError, ValueError
            If the query is no text, or empty.
        """
        self.opened_index()
        if isinstance(query, str) and not query.strip():
            raise ValueError("query must not be empty")
        return self.search_embeddings(self.embed(query), k, where=where)

    def embed(self, query: str) -> NDArray[np.float32]:
        """Return the embedding of a text, shape (1, d), to search with; not for several threads at once."""
        return embed_texts(self._model, [query])

    @cached_property
    def _model(self) -> Any:
        return load_text_model(self._settings["model"])

    def _list(self) -> _Rows:
        rows = read_rows(self.source)
        texts, ids, table = self._columns(rows)
        faults = {int(number): reason for number, reason in rows.faults.items()}
        kept: dict[Any, int] = {}
        for row, (number, item, text) in enumerate(zip(rows.numbers.tolist(), ids, texts, strict=True)):
            if text is None or not text.strip():
                faults[number] = "empty"
            elif item is None or item == "" or (isinstance(item, int) and item < 0):
                faults[number] = "no id" if item in (None, "") else f"id {item} is negative"
            elif item in kept:
                faults[number] = f"id {item} is also that of row {rows.numbers[kept[item]]}"
            else:
                kept[item] = row
        table = self._conform(table.take(np.array(list(kept.values()), np.int64)))
        columns = [table[name].to_pylist() for name in sorted(table.column_names)]
        hashes = [_hash(row) for row in zip(*columns, strict=True)]
        unreadable = tuple(f"row {number} ({faults[number]})" for number in sorted(faults))
        states = {item: (value,) for item, value in zip(kept, hashes, strict=True)}
        return _Rows(states, unreadable, table, {item: place for place, item in enumerate(kept)})

    def _columns(self, rows: FileRows) -> tuple[list[Any], list[Any], Any]:
        """Return texts, ids, and the columns that become metadata."""
        import pyarrow as pa

        table, column, ids_column = rows.table, self._settings["column"], self._settings["ids_column"]
        for name in (column, *([ids_column] if ids_column else [])):
            if name not in table.column_names:
                raise ValueError(
                    f"{self.source} has no column {name}; it has {', '.join(table.column_names) or 'none'}"
                )
        kind = table.schema.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise ValueError(f"column {column} of {self.source} must hold texts; it holds {kind}")
        texts, ids = table[column].to_pylist(), rows.numbers.tolist()
        if ids_column is not None:
            values = table[ids_column]
            ids = (values if pa.types.is_integer(values.type) else values.cast(pa.string())).to_pylist()
            table = table.drop_columns([ids_column]) if ids_column != column else table
        return texts, ids, table.rename_columns([_free_name(name) for name in table.column_names])

    def _conform(self, table: Any) -> Any:
        """Return the columns with the types that the index has for them, as far as the values allow."""
        import pyarrow as pa

        schema = None if self.index is None else self.index.metadata_schema
        new = [name for name in table.column_names if schema is not None and name not in schema.names]
        if new:
            raise ValueError(f"{self.source} has a new column {new[0]}; make another collection to have it")
        for position, field_ in enumerate(table.schema):
            known = field_.type if schema is None else schema.field(field_.name).type
            known = pa.string() if pa.types.is_null(known) else known  # a column that holds nothing yet
            try:
                table = table.set_column(position, field_.name, table[field_.name].cast(known))
            except pa.ArrowInvalid as error:
                raise ValueError(f"column {field_.name} of {self.source} was {known} before: {error}") from error
        return table

    def _embed(self, ids: Sequence[Any], listing: _Rows, advance: Callable[[int], None]) -> EmbeddedPart:
        import pyarrow as pa

        table = listing.table.take(np.array([listing.places[item] for item in ids], np.int64))
        texts, parts = table[self.column].to_pylist(), []
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            parts.append(embed_texts(self._model, block))
            advance(len(block))
        table = table.append_column(_HASH, pa.array([listing.states[item][0] for item in ids], pa.int64()))
        return EmbeddedPart(list(ids), np.concatenate(parts), table, {})

    def _merits(self, ids: NDArray[Any]) -> Sequence[Any]:
        texts = self.opened_index().metadata(ids, [self.column])[self.column].to_pylist()
        return [(len(text), -position) for position, text in enumerate(texts)]


def _free_name(column: str) -> str:
    """Return the name of a metadata column: not that of a column of results."""
    return f"{column}_" if column in (*RESERVED, _HASH) else column


def _hash(row: tuple[Any, ...]) -> int:
    """Return a hash of the values of a row, a signed number of 64 bits."""
    return xxhash.xxh3_64_intdigest(repr(row).encode("utf-8", "surrogatepass")) - 2**63
