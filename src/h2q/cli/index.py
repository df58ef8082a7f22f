"""``h2q index``: codes or embeddings to a searchable folder, and its changes."""

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
    str | None, typer.Option("--ids", help="File with an id for each item. Default: on from the highest so far.")
]
FolderArgument = Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")]


def build(
    items: ItemsArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder; an index in it is replaced.")],
    quantizer: Annotated[
        Path | None,
        typer.Option("--quantizer", "-q", help="What h2q fit saved; kept in the index, which then takes embeddings."),
    ] = None,
    bits: Annotated[
        int | None, typer.Option(min=1, max=65_536, help="Bits of the codes. Default: the quantizer's, or all.")
    ] = None,
    ids: IdsOption = None,
    keep_embeddings: Annotated[
        bool, typer.Option("--keep-embeddings", help="Keep the embeddings, too, for search --rerank.")
    ] = False,
    metric: Annotated[Metric, typer.Option(help="What re-ranking compares by.")] = Metric.cosine,
    as_json: JsonOption = False,
) -> None:
    """Make an index of codes, or of embeddings through a quantizer."""
    from h2q.files import open_array
    from h2q.index import BinaryIndex
    from h2q.quantization import load_quantizer

    stored = open_array(items)
    if not stored.holds_codes and quantizer is None:
        raise typer.BadParameter(
            f"{items} holds {stored.dtype}, not codes (uint8): embeddings need --quantizer, which h2q fit makes",
            param_hint="--quantizer",
        )
    fitted = None if quantizer is None else load_quantizer(quantizer)
    if fitted is None and bits is None:
        bits = 8 * stored.shape[1]
    index = BinaryIndex(bits, quantizer=fitted, keep_embeddings=keep_embeddings, metric=metric.value)
    _add_and_save(index, items, stored, ids, output, as_json)


def append(folder: FolderArgument, items: ItemsArgument, ids: IdsOption = None, as_json: JsonOption = False) -> None:
    """Add items to an index; what is there already is not written again."""
    from h2q.files import open_array
    from h2q.index import BinaryIndex

    index = BinaryIndex.open(folder)
    _add_and_save(index, items, open_array(items), ids, folder, as_json)


def _add_and_save(index: "BinaryIndex", items: str, stored: Any, ids: str | None, folder: Path, as_json: bool) -> None:
    """Add all items of a file, chunk by chunk, then save: if anything is wrong, the folder stays as it was."""
    from h2q.checks import as_ids
    from h2q.files import open_array
    from h2q.progress import progress_bar

    began = time.perf_counter()
    given = None
    if ids is not None:
        given = as_ids(open_array(ids, ndim=1).read(), len(stored), f"--ids {ids}")
    width = None if index.quantizer is None else index.quantizer.n_features_in_
    chunks = stored.chunks() if stored.holds_codes else stored.embeddings(n_features=width)
    start = 0
    with naming(items), progress_bar("indexing", len(stored)) as advance:
        for chunk in chunks:
            stop = start + len(chunk)
            index.add(chunk, None if given is None else given[start:stop])
            advance(len(chunk))
            start = stop
    index.save(folder)
    _report(index, folder, {"added": start}, f"{start:,} items added in", began, as_json)


def remove(
    folder: FolderArgument,
    ids: Annotated[str, typer.Argument(metavar="IDS", help="Ids with commas between, or a file of ids.")],
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
    index.remove(wanted)
    index.save(folder)
    _report(index, folder, {"removed": len(wanted)}, f"{len(wanted):,} items removed in", began, as_json)


def compact(folder: FolderArgument, as_json: JsonOption = False) -> None:
    """Write an index anew as one piece: worth while after many changes."""
    from h2q.index import BinaryIndex

    began = time.perf_counter()
    index = BinaryIndex.open(folder)
    index.compact()
    index.save(folder)
    _report(index, folder, {}, "compacted in", began, as_json)


def _report(
    index: "BinaryIndex", folder: Path, numbers: dict[str, int], done: str, began: float, as_json: bool
) -> None:
    seconds = time.perf_counter() - began
    if as_json:
        print_json(
            {"index": folder, **numbers, "items": len(index), "bits": index.n_bits, "seconds": round(seconds, 3)}
        )
        return
    print(f"{done} {format_seconds(seconds)}")
    print(f"{folder} holds {len(index):,} codes of {index.n_bits} bits")
