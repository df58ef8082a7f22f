"""``h2q index``: build an index of codes, and change it."""

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from h2q.cli.common import JsonOption, Metric, format_seconds, naming, print_json

if TYPE_CHECKING:
    from h2q.index import Index

__all__ = ["append", "build", "compact", "remove"]

ItemsArgument = Annotated[
    str,
    typer.Argument(
        metavar="ITEMS",
        help="Codes (uint8) or embeddings: .npy, .npz, .safetensors, .parquet; FILE:NAME picks an array.",
    ),
]
IdsOption = Annotated[
    str | None,
    typer.Option("--ids", help="File with an id for each item. Default: from the highest so far."),
]
IdsColumnOption = Annotated[
    str | None,
    typer.Option("--ids-column", help="Column with an id for each item, numbers or texts, of --metadata or ITEMS."),
]
MetadataOption = Annotated[
    Path | None,
    typer.Option("--metadata", help="Parquet file with a row for each item. Default: ITEMS, where it is Parquet."),
]
MetadataColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--metadata-columns", help="Columns to keep, with commas between. Default: all of --metadata, none of ITEMS."
    ),
]
IndexArgument = Annotated[str, typer.Argument(metavar="INDEX", help="Folder of the index, or another address.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")]


def build(
    items: ItemsArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write; replaces an index in it.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="ADDRESS", help="Instead: make the index there: faiss:FOLDER?recall=0.95 ..."),
    ] = None,
    quantizer: Annotated[
        Path | None,
        typer.Option("--quantizer", "-q", help="File that h2q fit wrote; kept in the index, which takes embeddings."),
    ] = None,
    bits: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Bits of the codes. Default: the quantizer's, or all.")
    ] = None,
    ids: IdsOption = None,
    ids_column: IdsColumnOption = None,
    metadata: MetadataOption = None,
    metadata_columns: MetadataColumnsOption = None,
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="Keep the embeddings, too, for search --rerank.")
    ] = False,
    metric: Annotated[Metric, typer.Option(help="Distance of embeddings that re-ranking uses.")] = Metric.cosine,
    as_json: JsonOption = False,
) -> None:
    """Build an index of codes, or of embeddings through a quantizer."""
    from h2q.files import open_array
    from h2q.quantization import load_quantizer

    if (output is None) == (to is None):
        raise typer.BadParameter("give a folder with --output, or an address with --to", param_hint="--output")
    stored = open_array(items)
    if not stored.holds_codes and quantizer is None:
        raise typer.BadParameter(
            f"{items} holds {stored.dtype}, not codes (uint8): embeddings need --quantizer, which h2q fit makes",
            param_hint="--quantizer",
        )
    if keep_embeddings and stored.holds_codes:
        raise typer.BadParameter(
            f"{items} holds codes; index the embeddings themselves to keep them", param_hint="--keep-embeddings"
        )
    fitted = None if quantizer is None else load_quantizer(quantizer)
    if fitted is not None and bits not in (None, fitted.n_bits_):
        raise typer.BadParameter(
            f"expected {fitted.n_bits_}, the bits of {quantizer}; got {bits}: omit the option", param_hint="--bits"
        )
    if fitted is None and bits is None:
        bits = 8 * stored.shape[1]
    known = _read_known(items, len(stored), ids, ids_column, metadata, metadata_columns)
    index = _make(to, bits, quantizer=fitted, keep_embeddings=keep_embeddings, metric=metric.value)
    _add_and_save(index, items, stored, known, to or output, as_json=as_json)


def _make(to: str | None, bits: int | None, **options: Any) -> "Index":
    """Return an empty index: at an address, or in memory for a folder."""
    from h2q.index import BinaryIndex, create_index

    return BinaryIndex(bits, **options) if to is None else create_index(to, bits, **options)


def _locked(index: "Index") -> AbstractContextManager[Any]:
    """Keep other processes from saving to a folder; a server takes care of that itself."""
    locked = getattr(index, "locked", None)
    return nullcontext() if locked is None else locked()


def _save(index: "Index", place: Any) -> None:
    """Save an index at a folder, or where it was made."""
    from h2q.index import BinaryIndex

    if isinstance(index, BinaryIndex):
        index.save(place)
    else:
        index.save()


def append(
    folder: IndexArgument,
    items: ItemsArgument,
    ids: IdsOption = None,
    ids_column: IdsColumnOption = None,
    metadata: MetadataOption = None,
    metadata_columns: MetadataColumnsOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Items whose id is taken replace the item there; needs ids.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Add items to an index; what is already there is not written again."""
    from h2q.files import open_array
    from h2q.index import open_index

    if replace and ids is None and ids_column is None:
        raise typer.BadParameter("it needs --ids or --ids-column, the ids of the items", param_hint="--replace")
    index, stored = open_index(folder), open_array(items)
    if getattr(index, "keeps_embeddings", False) and stored.holds_codes:
        raise ValueError(f"{items} holds codes, but {folder} keeps embeddings: append the embeddings themselves")
    known = _read_known(items, len(stored), ids, ids_column, metadata, metadata_columns)
    with _locked(index):
        _add_and_save(index, items, stored, known, folder, replace=replace, as_json=as_json)


class _Known(NamedTuple):
    """What files say of the items beside their codes: ids with the name of the option, metadata."""

    ids: Any = None
    option: str = "--ids"
    metadata: Any = None


def _read_known(
    items: str, n: int, ids: str | None, ids_column: str | None, metadata: Path | None, metadata_columns: str | None
) -> _Known:
    """Return ids and metadata of the items, or say which option does not fit."""
    from h2q.files import open_array
    from h2q.index.ids import check_ids

    if ids is not None and ids_column is not None:
        raise typer.BadParameter("it does not go with --ids; omit one of them", param_hint="--ids-column")
    new_ids = None if ids is None else open_array(ids, ndim=1).read()
    option = f"--ids {ids}" if ids_column is None else f"--ids-column {ids_column}"
    table = _read_table(items, n, ids_column, metadata, metadata_columns)
    if table is not None and ids_column is not None:
        new_ids = table[ids_column]
        if new_ids.null_count:
            raise typer.BadParameter(f"{new_ids.null_count:,} rows have no id", param_hint="--ids-column")
        if ids_column not in (metadata_columns or "").split(","):
            table = table.drop_columns([ids_column])
    checked = None if new_ids is None else check_ids(new_ids, n, None, option)
    return _Known(checked, option, table if table is not None and table.num_columns else None)


def _read_table(items: str, n: int, ids_column: str | None, metadata: Path | None, metadata_columns: str | None) -> Any:
    """Return the columns that options name; None if they name none."""
    from h2q.files import read_columns, split_name

    names = [name.strip() for name in metadata_columns.split(",")] if metadata_columns else []
    names += [ids_column] if ids_column is not None and ids_column not in names else []
    if metadata is None and not names:
        return None
    source = split_name(items)[0] if metadata is None else metadata
    if source.suffix.lower() != ".parquet":
        option = "--ids-column" if metadata_columns is None else "--metadata-columns"
        option = option if metadata is None else "--metadata"
        raise typer.BadParameter(f"{source} is no Parquet file, which holds columns by name", param_hint=option)
    table = read_columns(source, names if metadata_columns or metadata is None else None)
    if ids_column is not None and ids_column not in table.column_names:
        raise typer.BadParameter(f"{source} has no column {ids_column}", param_hint="--ids-column")
    if table.num_rows != n:
        raise typer.BadParameter(f"{source} has {table.num_rows:,} rows, and {items} {n:,}", param_hint="--metadata")
    return table


def _add_and_save(
    index: "Index",
    items: str,
    stored: Any,
    known: _Known,
    folder: Any,
    *,
    replace: bool = False,
    as_json: bool = False,
) -> None:
    """Add all items of a file, chunk by chunk, then save: if anything is wrong, the folder stays as it was."""
    from h2q.progress import progress_bar

    began, new_ids = time.perf_counter(), known.ids
    if new_ids is not None and not replace:
        taken = new_ids[index.contains(new_ids)].tolist()
        if taken:
            raise ValueError(
                f"{known.option} holds {len(taken):,} id(s) that {folder} already has (first: {taken[0]}); choose "
                "other ids, or use --replace"
            )
    width = None if index.quantizer is None else index.quantizer.n_features_in_
    chunks = stored.chunks() if stored.holds_codes else stored.embeddings(n_features=width)
    start = 0
    with naming(items), progress_bar("indexing", len(stored)) as advance:
        for chunk in chunks:
            stop = start + len(chunk)
            rows = None if known.metadata is None else known.metadata[start:stop]
            if new_ids is None:
                index.add(chunk, metadata=rows)
            else:
                index.upsert(chunk, new_ids[start:stop], rows)
            advance(len(chunk))
            start = stop
    _save(index, folder)
    _report(index, folder, {"added": start}, f"{start:,} items added in", began, as_json)


def remove(
    folder: IndexArgument,
    ids: Annotated[str, typer.Argument(metavar="IDS", help="Ids separated by commas, or a file of ids.")],
    as_json: JsonOption = False,
) -> None:
    """Remove items from an index by their ids."""
    from h2q.files import open_array
    from h2q.index import open_index

    began = time.perf_counter()
    index = open_index(folder)
    parts = [part.strip() for part in ids.split(",")]
    wanted: Any = parts
    if index.id_type != "string":
        wanted = [int(part) for part in parts] if all(map(str.isdecimal, parts)) else open_array(ids, ndim=1).read()
    with _locked(index):
        index.remove(wanted)
        _save(index, folder)
    _report(index, folder, {"removed": len(wanted)}, f"{len(wanted):,} items removed in", began, as_json)


def compact(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Rewrite an index as one segment, without the removed items; use it after many changes."""
    from h2q.index import BinaryIndex

    began = time.perf_counter()
    index = BinaryIndex.open(folder)
    with index.locked():
        index.compact()
        index.save(folder)
    _report(index, folder, {}, "compacted in", began, as_json)


def _report(index: "Index", folder: Any, counts: dict[str, int], done: str, began: float, as_json: bool) -> None:
    from h2q.index.metadata import describe_schema

    seconds = time.perf_counter() - began
    if as_json:
        document = {"index": folder, **counts, "items": len(index), "bits": index.n_bits, "seconds": round(seconds, 3)}
        print_json(
            document | ({} if index.metadata_schema is None else {"metadata": describe_schema(index.metadata_schema)})
        )
        return
    print(f"{done} {format_seconds(seconds)}")
    metadata = ", ".join(f"{name} ({kind})" for name, kind in describe_schema(index.metadata_schema).items())
    print(
        f"{folder} holds {len(index):,} codes of {index.n_bits} bits" + (f"; metadata: {metadata}" if metadata else "")
    )
