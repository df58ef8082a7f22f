"""``h2q texts``: search the texts of a file by what they mean."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from h2q.cli.collections import (
    CollectionOption,
    CountOption,
    KeepOption,
    RadiusOption,
    on_one_line,
    print_duplicates,
    update_collection,
)
from h2q.cli.common import JsonOption, print_json, print_table

__all__ = ["duplicates", "index", "search"]

_SHOWN = 100  # characters of a text
CollectionArgument = Annotated[Path, typer.Argument(metavar="COLLECTION", help="What h2q texts index wrote.")]


def index(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Texts: .parquet, .csv, .jsonl, or .txt with a text a line.")
    ],
    output: CollectionOption,
    column: Annotated[str | None, typer.Option(help="Column of the texts. Default: text.")] = None,
    ids_column: Annotated[
        str | None, typer.Option(help="Column with an id for each text. Default: the numbers of the rows, from 0.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="sentence-transformers model, name or folder. Default: all-MiniLM-L6-v2.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Index the texts of a file; the next time, only what is new, changed or gone."""
    from h2q.files.tables import TABLE_SUFFIXES

    if file.suffix.lower() not in TABLE_SUFFIXES:
        raise typer.BadParameter(
            f"expected a name that ends in {', '.join(TABLE_SUFFIXES)}; got {file}", param_hint="FILE"
        )
    if not file.is_file():
        raise typer.BadParameter(f"there is no file {file}", param_hint="FILE")
    from h2q.collections import TextCollection

    collection = TextCollection(output, file, column=column, ids_column=ids_column, model=model)
    update_collection(collection, as_json=as_json)


def search(
    path: CollectionArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to search for, in words.")],
    k: CountOption = 10,
    where: Annotated[
        str | None, typer.Option(help='Only texts that fulfil a condition on the other columns: "year >= 2020".')
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the texts nearest to a query in meaning; the distance is 1 - cosine of the embeddings."""
    from h2q.collections import TextCollection

    collection = TextCollection.open(path)
    neighbors = collection.search(query, k, where=where)
    rows = neighbors.metadata.to_pylist()
    pairs = list(zip(neighbors[0], rows, strict=True))
    if as_json:
        texts = [{"id": item.id, "distance": item.distance, **row} for item, row in pairs]
        print_json({"query": query, "texts": texts})
        return
    cells = [[str(item.id), _shorten(row[collection.column]), f"{item.distance:.3f}"] for item, row in pairs]
    print_table(["id", "text", "distance"], cells, text_columns=2)


def duplicates(
    path: CollectionArgument, radius: RadiusOption = None, keep: KeepOption = None, as_json: JsonOption = False
) -> None:
    """Group texts that say nearly the same."""
    from h2q.collections import TextCollection

    collection = TextCollection.open(path)

    def describe(ids: Sequence[Any]) -> list[str]:
        texts = collection.opened_index().metadata(ids, [collection.column])[collection.column].to_pylist()
        return [f"{item}: {_shorten(text)}" for item, text in zip(ids, texts, strict=True)]

    print_duplicates(collection, radius, keep, describe, key="ids", as_json=as_json)


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return on_one_line(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")
