"""Shards: Parquet files of codes, one for each part of a collection, and the columns that travel along."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_embeddings
from h2q.encoding.collections import Batch, Collection, Part
from h2q.errors import FileFormatError
from h2q.files import atomic_path, read_checked_json
from h2q.quantization.base import BaseQuantizer
from h2q.quantization.scoring import EncodedItems

__all__ = ["MANIFEST", "Shard", "encode_part", "file_checksum", "read_shards", "shard_name"]

MANIFEST = "shards.json"
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """A shard that has been written.

    Attributes
    ----------
    number : int
        Number of the part, which its name holds.
    n_rows : int
        Number of items.
    checksum : str
        XXH3 (64 bits) of the file.
    """

    number: int
    n_rows: int
    checksum: str

    def as_record(self) -> dict[str, Any]:
        """Return the shard as JSON holds it."""
        return asdict(self)


def shard_name(number: int) -> str:
    """Return the file name of a shard.

    >>> shard_name(12)
    'shard-000012.parquet'
    """
    return f"shard-{number:06}.parquet"


def encode_part(collection: Collection, part: Part, number: int, quantizer: BaseQuantizer, folder: Path) -> Shard:
    """Encode the rows of a part, and write them as a shard, atomically.

    Parameters
    ----------
    collection : Collection
        The embeddings.
    part : Part
        The rows.
    number : int
        Number of the part.
    quantizer : BaseQuantizer
        A fitted quantizer.
    folder : Path
        Where the shard is written.

    Returns
    -------
    Shard
        Its number, rows and checksum.

    Raises
    ------
    FileFormatError
        If the file has fewer rows than when the run began.
    TypeError, ValueError
        If a row is no embedding of the quantizer's width; the message names the file and the row.
    """
    import pyarrow.parquet as pq

    target = folder / shard_name(number)
    name = str(collection.files[part.file])
    writer, n_rows = None, 0
    with atomic_path(target) as temporary:
        try:
            for batch in _read_ahead(collection.batches(part)):
                rows = as_embeddings(
                    batch.embeddings, name, n_features=quantizer.n_features_in_, allow_zero_rows=True,
                    first_row=part.first_row + n_rows,
                )  # fmt: skip
                table = _with_codes(batch.columns, quantizer.encode_items(rows), quantizer)
                writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
                n_rows += len(rows)
        finally:
            if writer is not None:
                writer.close()
        if n_rows != part.n_rows:
            raise FileFormatError(f"{name} has {n_rows} rows where it had {part.n_rows} when the run began")
        checksum = file_checksum(temporary)
    return Shard(number, n_rows, checksum)


def _read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the batches, each read by a thread while the one before it is encoded."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = reader.submit(next, batches, None)
            yield batch


def _with_codes(columns: Any, items: EncodedItems, quantizer: BaseQuantizer) -> Any:
    """Return an Arrow table of codes, scalars if there are any, and the columns beside them."""
    import pyarrow as pa

    n_bytes = items.codes.shape[1]
    flat = np.ascontiguousarray(items.codes)
    codes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(n_bytes), len(flat), [None, pa.py_buffer(flat)])
    metadata = {b"n_bits": str(quantizer.n_bits_).encode()}
    table = columns.append_column(pa.field("codes", codes.type, nullable=False, metadata=metadata), codes)
    if items.scalars is not None:
        table = table.append_column(pa.field("scalars", pa.uint8(), nullable=False), pa.array(items.scalars))
    return table


def file_checksum(path: Path) -> str:
    """Return the XXH3 checksum (64 bits) of a file."""
    import xxhash

    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return str(digest.hexdigest())


def read_shards(folder: Path | str) -> Iterator[tuple[EncodedItems, Any]]:
    """Yield what `encode_dataset` wrote, shard by shard, in the order of the collection.

    Parameters
    ----------
    folder : path
        The folder of the shards.

    Yields
    ------
    (EncodedItems, pyarrow.Table)
        Codes and scalars, as `BinaryIndex.add` takes them, and the other columns.

    Raises
    ------
    FileNotFoundError
        If the run that writes the folder has not come to its end.
    FileFormatError
        If a shard does not match its checksum.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from h2q.encoding import encode_dataset
    >>> from h2q.quantization import SignQuantizer
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "a.npy", np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
    >>> written = encode_dataset(folder / "a.npy", SignQuantizer(), folder / "codes")
    >>> [items.codes.shape for items, columns in read_shards(written.folder)]
    [(50, 1)]
    """
    import pyarrow.parquet as pq

    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        raise FileNotFoundError(f"{folder} has no {MANIFEST}: the run is not complete; run it again, and it goes on")
    manifest = read_checked_json(folder / MANIFEST)
    for record in manifest["shards"]:
        path = folder / shard_name(record["number"])
        if file_checksum(path) != record["checksum"]:
            raise FileFormatError(f"{path} is damaged: it does not match its checksum; delete it, and run it again")
        table = pq.read_table(path)
        codes = _codes_of(table.column("codes"))
        scalars = table.column("scalars").to_numpy() if "scalars" in table.column_names else None
        names = [name for name in table.column_names if name not in ("codes", "scalars")]
        yield EncodedItems(codes, scalars, manifest["quantizer"]), table.select(names)


def _codes_of(column: Any) -> NDArray[np.uint8]:
    """Return a column of fixed-size binary values as an array, shape (n, bytes)."""
    n_bytes = column.type.byte_width
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * n_bytes : (chunk.offset + len(chunk)) * n_bytes]
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros(0, np.uint8), *parts]).reshape(-1, n_bytes)
