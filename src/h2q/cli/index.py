"""``h2q index``: build an index of codes, and change it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import JsonOption, Metric, format_seconds, naming, print_json

if TYPE_CHECKING:
    from h2q.index import BinaryIndex

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
FolderArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")]


def build(
    items: ItemsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; replaces an index in it.")],
    quantizer: Annotated[
        Path | None,
        typer.Option("--quantizer", "-q", help="File that h2q fit wrote; kept in the index, which takes embeddings."),
    ] = None,
    bits: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Bits of the codes. Default: the quantizer's, or all.")
    ] = None,
    ids: IdsOption = None,
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="Keep the embeddings, too, for search --rerank.")
    ] = False,
    metric: Annotated[Metric, typer.Option(help="Distance of embeddings that re-ranking uses.")] = Metric.cosine,
    as_json: JsonOption = False,
) -> None:
    """Build an index of codes, or of embeddings through a quantizer."""
    from h2q.files import open_array
    from h2q.index import BinaryIndex
    from h2q.quantization import load_quantizer

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
    index = BinaryIndex(bits, quantizer=fitted, keep_embeddings=keep_embeddings, metric=metric.value)
    _add_and_save(index, items, stored, ids, output, as_json=as_json)


def append(
    folder: FolderArgument,
    items: ItemsArgument,
    ids: IdsOption = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Items whose id is taken replace the item there; needs --ids.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Add items to an index; what is already there is not written again."""
    from h2q.files import open_array
    from h2q.index import BinaryIndex

    if replace and ids is None:
        raise typer.BadParameter("it needs --ids, the ids of the items", param_hint="--replace")
    index, stored = BinaryIndex.open(folder), open_array(items)
    if index.keeps_embeddings and stored.holds_codes:
        raise ValueError(f"{items} holds codes, but {folder} keeps embeddings: append the embeddings themselves")
    with index.locked():
        _add_and_save(index, items, stored, ids, folder, replace=replace, as_json=as_json)


def _add_and_save(
    index: "BinaryIndex",
    items: str,
    stored: Any,
    ids: str | None,
    folder: Path,
    *,
    replace: bool = False,
    as_json: bool = False,
) -> None:
    """Add all items of a file, chunk by chunk, then save: if anything is wrong, the folder stays as it was."""
    from h2q.checks import as_ids
    from h2q.files import open_array
    from h2q.progress import progress_bar

    began = time.perf_counter()
    new_ids = None if ids is None else as_ids(open_array(ids, ndim=1).read(), len(stored), f"--ids {ids}")
    if new_ids is not None and not replace:
        taken = new_ids[index.contains(new_ids)].tolist()
        if taken:
            raise ValueError(
                f"--ids {ids} holds {len(taken):,} id(s) that {folder} already has (first: {taken[0]}); choose other "
                "ids, or use --replace"
            )
    width = None if index.quantizer is None else index.quantizer.n_features_in_
    chunks = stored.chunks() if stored.holds_codes else stored.embeddings(n_features=width)
    start = 0
    with naming(items), progress_bar("indexing", len(stored)) as advance:
        for chunk in chunks:
            stop = start + len(chunk)
            if new_ids is None:
                index.add(chunk)
            else:
                index.upsert(chunk, new_ids[start:stop])
            advance(len(chunk))
            start = stop
    index.save(folder)
    _report(index, folder, {"added": start}, f"{start:,} items added in", began, as_json)


def remove(
    folder: FolderArgument,
    ids: Annotated[str, typer.Argument(metavar="IDS", help="Ids separated by commas, or a file of ids.")],
    as_json: JsonOption = False,
) -> None:
    """Remove items from an index by their ids."""
    from h2q.files import open_array
    from h2q.index import BinaryIndex

    began = time.perf_counter()
    index = BinaryIndex.open(folder)
    parts = ids.split(",")
    listed = all(part.strip().isdecimal() for part in parts)
    wanted = [int(part) for part in parts] if listed else open_array(ids, ndim=1).read()
    with index.locked():
        index.remove(wanted)
        index.save(folder)
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


def _report(index: "BinaryIndex", folder: Path, counts: dict[str, int], done: str, began: float, as_json: bool) -> None:
    seconds = time.perf_counter() - began
    if as_json:
        print_json({"index": folder, **counts, "items": len(index), "bits": index.n_bits, "seconds": round(seconds, 3)})
        return
    print(f"{done} {format_seconds(seconds)}")
    print(f"{folder} holds {len(index):,} codes of {index.n_bits} bits")
